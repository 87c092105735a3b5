"""Converts the tags of one DICOM frame to a slice header, by allow-list.

Of the tags that identify a patient, only the input of the pseudonym and a digest are kept.
"""

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from data_prep.dicom.image_facts import FACT_TAGS, ImageFacts, Lookup, image_facts, number
from data_prep.dicom.slice_header import SliceHeader
from data_prep.readers.file_state import Stamp

# fmt: off
HEADER_TAGS = [
    *FACT_TAGS, "SpecificCharacterSet", "SOPClassUID", "Modality", "PixelPresentation",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "InstitutionName",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
    "ImagesInAcquisition", "EchoNumbers", "TemporalPositionIdentifier", "TriggerTime",
    "SamplesPerPixel", "PhotometricInterpretation",
    "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "LossyImageCompression",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]
# fmt: on
_TAGS_OF_FACTS = frozenset(Tag(keyword) for keyword in FACT_TAGS)
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")
_MACROS = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "SliceThickness": ("PixelMeasuresSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "RescaleType": ("PixelValueTransformationSequence",),
    "StackID": ("FrameContentSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "FrameAcquisitionNumber": ("FrameContentSequence",),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
    "EffectiveEchoTime": ("MREchoSequence",),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence",),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence",),
    "InversionRecovery": ("MRModifierSequence",),
    "InversionTimes": ("MRModifierSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "FrameType": _FRAME_TYPES,
    "ComplexImageComponent": _FRAME_TYPES[:1],
    "AcquisitionContrast": _FRAME_TYPES[:1],
    "VolumetricProperties": _FRAME_TYPES,
    "VolumeBasedCalculationTechnique": _FRAME_TYPES,
}
"""Sequences of enhanced multi-frame objects for tags that single frames have at the top level
(PS3.3 C.7.6.16)."""
_MOST_MM = 1e6
"""Positions and sizes beyond it are no coordinates of a scanner, and their squares overflow."""
_LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
"""Transfer syntaxes that cannot be without loss: JPEG of 8 and 12 bits, near-lossless JPEG-LS."""


def frames_of(dataset: Dataset) -> int:
    """Return the number of frames that an object claims."""
    return int(dataset.get("NumberOfFrames") or 1)


@dataclass(frozen=True, slots=True)
class _FrameTags:
    """The values of one frame's tags: those of its functional groups come before the object's."""

    dataset: Dataset
    groups: list[Dataset]
    invalid: list[str] = field(default_factory=list)
    """Keywords of numbers that the voxel values depend on, and that are none."""

    def value(self, keyword: str) -> Any:
        for group in self.groups:
            for macro in _MACROS.get(keyword, ()):
                for item in group.get(macro) or []:
                    if item.get(keyword) is not None:
                        return item.get(keyword)
        return self.dataset.get(keyword)

    def optional(self, keyword: str) -> Any:
        """Return a value that nothing depends on; None if it is damaged."""
        try:
            return self.value(keyword)
        except Exception:  # pydicom raises whatever a damaged value leads to
            return None

    def text(self, keyword: str) -> str:
        return str(self.value(keyword) or "").strip()

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        found = self.optional(keyword)
        many = found if isinstance(found, MutableSequence) else [found]
        parts = tuple(part for part in map(number, many) if part is not None)
        is_sound = len(parts) == count and max(map(abs, parts)) < _MOST_MM
        return parts if is_sound else None

    def scale(self, keyword: str) -> float | None:
        """Return a number that the voxel values depend on; note if it is none."""
        try:
            found = self.value(keyword)
        except ValueError:
            found = math.nan
        if found in (None, ""):
            return None
        if (sound := number(found)) is None:
            self.invalid.append(keyword)
        return sound

    def whole(self, keyword: str) -> int | None:
        found = self.value(keyword)
        return None if found in (None, "") else int(found)

    def count(self, keyword: str) -> int | None:
        found = number(self.optional(keyword))
        return None if found is None else int(found)


def slice_header(
    path: Path, stamp: Stamp, dataset: Dataset, groups: list[Dataset], frame: int
) -> SliceHeader:
    """Return the header of one frame; `groups` are its own functional groups, then the shared ones.

    Raises ValueError if it has no SOP class, and whatever pydicom raises for damaged values.
    """
    tags = _FrameTags(dataset, groups)
    text, whole, count, optional = tags.text, tags.whole, tags.count, tags.optional
    # A DICOMDIR, and a file cut off early, name their class in the meta information alone.
    sop_class = text("SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not sop_class:
        raise ValueError("no SOPClassUID")
    identity = text("PatientID") + "\0" + text("IssuerOfPatientID")
    name, birth_date = plain_name(text("PatientName")), text("PatientBirthDate")
    bits = whole("BitsAllocated") or 0
    is_signed = whole("PixelRepresentation") == 1
    colour = (whole("SamplesPerPixel") or 1) > 1 or "COLOR" in (
        text("PhotometricInterpretation") + text("PixelPresentation")
    )
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return SliceHeader(
        path=path,
        stamp=stamp,
        frame=frame,
        frames=frames_of(dataset),
        identity=identity,
        person=_digest("\0".join((identity, name, birth_date))),
        name_digest=_digest(name),
        birth_date_digest=_digest(birth_date),
        institution_digest=_digest(text("InstitutionName").upper()),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        sop_class=sop_class,
        transfer_syntax=syntax,
        modality=text("Modality"),
        facts=image_facts(optional) if any(groups) else _classic_facts(dataset.elements()),
        is_colour=colour,
        is_lossy=text("LossyImageCompression") == "01" or syntax in _LOSSY,
        photometric=text("PhotometricInterpretation"),
        series_number=count("SeriesNumber"),
        acquisition=count("FrameAcquisitionNumber" if any(groups) else "AcquisitionNumber"),
        images_in_acquisition=count("ImagesInAcquisition"),
        echo_number=count("EchoNumbers"),
        stack=text("StackID"),
        moment=count("TemporalPositionIndex") or count("TemporalPositionIdentifier"),
        cardiac_phase=number(optional("TriggerTime") or optional("NominalCardiacTriggerDelayTime")),
        rows=whole("Rows") or 0,
        columns=whole("Columns") or 0,
        bits_allocated=bits,
        bits_stored=whole("BitsStored") or bits,
        high_bit=whole("HighBit") or bits - 1,
        is_signed=is_signed,
        position=tags.numbers("ImagePositionPatient", 3),
        orientation=tags.numbers("ImageOrientationPatient", 6),
        pixel_mm=tags.numbers("PixelSpacing", 2),
        slope=tags.scale("RescaleSlope"),
        intercept=tags.scale("RescaleIntercept"),
        rescale_type=text("RescaleType"),
        padding=padding_range(
            whole("PixelPaddingValue"), whole("PixelPaddingRangeLimit"), bits, is_signed
        ),
        invalid=tuple(tags.invalid),
    )


def plain_name(name: str) -> str:
    """Return the first spelling of a person's name, without its case and its separators.

    Scanners and archives write one name in several ways: Doe^John, DOE^JOHN^^, DOE JOHN.
    """
    return " ".join(re.split(r"[\^\s]+", name.partition("=")[0].upper())).strip()


def _digest(text: str) -> str:
    """Return a keyed digest, empty for no text; the key dies with the process."""
    content = text.encode("utf-8", "surrogateescape")
    return hmac.digest(_process_key(), content, hashlib.sha256).hex() if text.strip("\0") else ""


@cache
def _process_key() -> bytes:
    return secrets.token_bytes(32)


def _classic_facts(elements: Iterable[Any]) -> ImageFacts:
    """Return the facts of an object without functional groups, decoded once for equal headers."""
    own = tuple(each for each in elements if each.tag in _TAGS_OF_FACTS)
    if all(type(each) is RawDataElement for each in own):
        return _decoded(tuple(each._replace(value_tell=0) for each in own))
    return image_facts(_lenient(own))


@lru_cache(maxsize=4096)
def _decoded(elements: tuple[RawDataElement, ...]) -> ImageFacts:
    return image_facts(_lenient(elements))


def _lenient(elements: Iterable[Any]) -> Lookup:
    dataset = Dataset({each.tag: each for each in elements})

    def value(keyword: str) -> Any:
        try:
            return dataset.get(keyword)
        except Exception:  # pydicom raises whatever a damaged value leads to
            return None

    return value


def padding_range(
    value: int | None, limit: int | None, bits: int, is_signed: bool
) -> tuple[int, int] | None:
    """Return the padding range in stored values, read bitwise because writers mix up its sign."""
    if value is None or not bits:
        return None
    ends = [
        (end + offset) % (1 << bits) - offset
        for offset in [1 << (bits - 1) if is_signed else 0]
        for end in (value, value if limit is None else limit)
    ]
    return min(ends), max(ends)
