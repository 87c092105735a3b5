"""What a header says about how an image was made, as far as it is no patient text.

DICOM headers, functional groups of enhanced objects and BIDS sidecars give the same facts, and
`image_kind` and the filter `--mri-where` read nothing else.
"""

import math
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any

Lookup = Callable[[str], Any]
"""Returns the value of an attribute by its DICOM keyword, from any level of an object, or None."""
FACT_TAGS = (
    "ImageType",
    "ComplexImageComponent",
    "AcquisitionContrast",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "DiffusionBValue",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "AngioFlag",
    "SliceThickness",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "EchoPulseSequence",
    "EchoPlanarPulseSequence",
)
"""Attributes at the top level of an object that the facts are read from."""
_NO_AGENT = {"", "NO", "NONE", "N/A", "NA", "WITHOUT", "NO CONTRAST", "OHNE", "0"}
"""What sites write into ContrastBolusAgent when there was none."""
_PULSES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
"""EchoPulseSequence of enhanced MR (PS3.3 C.8.13.4) as values of ScanningSequence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """How an image was made; unknown is None, False or empty. Times are in ms."""

    image_type: tuple[str, ...] = ()
    """Values of FrameType or ImageType, in capitals with underscores: `PHASE_MAP`."""
    component: str = ""
    """ComplexImageComponent: MAGNITUDE, PHASE, REAL, IMAGINARY or MIXED."""
    acquisition_contrast: str = ""
    """AcquisitionContrast of an enhanced MR: T1, FLUID_ATTENUATED, ... ."""
    volumetric: str = ""
    """VolumetricProperties: VOLUME, SAMPLED or DISTORTED."""
    technique: str = ""
    """VolumeBasedCalculationTechnique: MAX_IP, MPR, ... ."""
    b_value: float | None = None
    echo_ms: float | None = None
    repetition_ms: float | None = None
    inversion_ms: float | None = None
    flip_degrees: float | None = None
    sequence: tuple[str, ...] = ()
    """ScanningSequence: SE, IR, GR, EP, RM."""
    variant: tuple[str, ...] = ()
    """SequenceVariant: SK, MTC, SS, TRSS, SP, MP, OSP, NONE."""
    options: tuple[str, ...] = ()
    """ScanOptions: FC (flow compensation), FS (fat saturation), ... ."""
    acquisition: str = ""
    """MRAcquisitionType: 2D or 3D."""
    thickness_mm: float | None = None
    is_angio: bool = False
    has_agent: bool = False
    """Whether the header names a contrast agent."""


def image_facts(value: Lookup) -> ImageFacts:
    """Return the facts of an image. An attribute that cannot be read counts as absent, since none
    of them is needed to place the voxels."""
    image_type, frame_type = words(value("ImageType")), words(value("FrameType"))
    if "MIXED" not in image_type:  # else its values hold for no frame in particular (C.8.16.1)
        frame_type = tuple(dict.fromkeys(frame_type + image_type))
    sequence = words(value("ScanningSequence"))
    if not sequence:
        sequence = _PULSES.get(word(value("EchoPulseSequence")), ())
        sequence += ("EP",) if word(value("EchoPlanarPulseSequence")) == "YES" else ()
        sequence += ("IR",) if word(value("InversionRecovery")) == "YES" else ()
    return ImageFacts(
        image_type=frame_type or image_type,
        component=word(value("ComplexImageComponent")),
        acquisition_contrast=word(value("AcquisitionContrast")),
        volumetric=word(value("VolumetricProperties")),
        technique=word(value("VolumeBasedCalculationTechnique")),
        b_value=number(value("DiffusionBValue")),
        echo_ms=number(value("EchoTime")) or number(value("EffectiveEchoTime")),
        repetition_ms=number(value("RepetitionTime")),
        inversion_ms=number(value("InversionTime")) or number(value("InversionTimes")),
        flip_degrees=number(value("FlipAngle")),
        sequence=sequence,
        variant=words(value("SequenceVariant")),
        options=words(value("ScanOptions")),
        acquisition=word(value("MRAcquisitionType")),
        thickness_mm=number(value("SliceThickness")),
        is_angio=word(value("AngioFlag")) == "Y",
        has_agent=_has_agent(value),
    )


def _has_agent(value: Lookup) -> bool:
    named = str(value("ContrastBolusAgent") or "").strip().upper() not in _NO_AGENT
    return named or bool(value("ContrastBolusAgentSequence"))


def words(value: Any) -> tuple[str, ...]:
    """Return the values of a code string in capitals, with underscores for spaces and hyphens."""
    many = value if isinstance(value, MutableSequence) else [value or ""]
    found = (str(each).strip().upper().replace(" ", "_").replace("-", "_") for each in many)
    return tuple(filter(None, found))


def word(value: Any) -> str:
    """Return the first value of a code string, or an empty text."""
    return next(iter(words(value)), "")


def number(value: Any) -> float | None:
    """Return a number, or None for anything else, such as two numbers or `4,6`."""
    if isinstance(value, MutableSequence):
        value = value[0] if len(value) == 1 else None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
