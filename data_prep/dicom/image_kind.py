"""Decides what kind of image a header describes, from facts that are no patient text.

The standard's own attributes come first; what vendors write into ImageType beyond it comes second;
timing decides the rest. An image that none of them names is `unknown`, never guessed.
"""

from typing import Literal, get_args

from data_prep.dicom.image_facts import ImageFacts
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality

MriKind = Literal[
    "T1w",
    "T1w-contrast",
    "T2w",
    "FLAIR",
    "PDw",
    "SWI",
    "DWI",
    "ADC",
    "TOF",
    "dixon-water",
    "dixon-fat",
    "in-phase",
    "opposed-phase",
    "localizer",
    "derived",
    "phantom",
    "unknown",
]
CtKind = Literal["native", "contrast", "topogram", "derived", "phantom", "unknown"]
ImageKind = MriKind | CtKind
PHANTOM: Literal["phantom"] = "phantom"
"""A synthetic head of `data_prep phantom`; no header says so, but the file beside the cohort."""
PHANTOM_ORIGIN = "phantom.json"
"""That file, in the folder of the manifest."""
ALL = "all"
"""Chooses every kind that shows anatomy."""
KINDS: dict[Modality, tuple[str, ...]] = {"mri": get_args(MriKind), "ct": get_args(CtKind)}

# Each set: PS3.3 C.7.6.1.1.2, C.8.13.1.1.1, C.8.16.1 and C.10.7 (parametric maps), then what
# Siemens, GE, Philips and Canon write, as listed in the vendor pages of dcm2niix.
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVEY"}
_COMPONENTS = {"PHASE", "REAL", "IMAGINARY"}
_PHASES = _COMPONENTS | {
    *("P", "R", "I", "PHASE_MAP", "PHASE_CONTRAST", "VELOCITY", "VELOCITY_MAP", "CR"),
    *("P_FFE", "P_SE", "P_IR", "P_PCA", "R_FFE", "R_SE", "R_IR", "I_FFE", "I_SE", "I_IR"),
}
_PROJECTIONS = {
    *("MAX_IP", "MIN_IP", "MIP", "MINIP", "MNIP", "MPR_MIP", "PROJECTION_IMAGE", "PROJECTION"),
    *("MAXIMUM", "MINIMUM", "VOLUME_RENDER", "SURFACE_RENDER", "VRT", "SSD", "3D_RENDERING"),
    *("CURVED_MPR", "CPR", "COLLAPSE", "PJN", "MAXIMUM_INTENSITY_PROJECTION", "MIP_THIN"),
}
_ADC = {"ADC", "ADC_UNSPECIFIED", "ADC_MAP"}
_MAPS = _ADC | {
    # Diffusion
    *("EADC", "EXP_ADC", "FA", "FA_MAP", "RA", "VR", "TRACE", "TRACEW", "TENSOR", "TENSOR_B0"),
    *("DIFFUSION_ANISO", "DIFFUSION_ATTNTD", "COLFA", "COLORFA", "ISOTROPIC_DIFFUSION"),
    # Relaxometry, fields, fat
    *("T1_MAP", "T2_MAP", "T2_STAR_MAP", "T2STAR_MAP", "T1RHO_MAP", "R1_MAP", "R2_MAP"),
    *("R2_STAR_MAP", "R2STAR_MAP", "R2", "R2_STAR", "T2_STAR", "RHO", "RHO_MAP", "PD_MAP"),
    *("B0", "B0_MAP", "B1", "B1_MAP", "FIELD_MAP", "FIELDMAP", "FLIP_ANGLE_MAP", "FLIPANGLE_MAP"),
    *("FAT_FRACTION", "FATFRACTION", "FF", "PDFF", "FAT_FRAC", "WATER_FRACTION", "QSM"),
    # Perfusion and dynamics
    *("PERFUSION", "CBF", "CBV", "RCBF", "RCBV", "RELCBF", "RELCBV", "RELMTT", "MTT", "TTP"),
    *("TMAX", "PBP", "GBP", "KTRANS", "KEP", "VE", "IAUC", "IAUGC", "NEI", "R_COEFFICIENT", "SCM"),
    *("TCS", "DELAY", "RELENH", "MAXENH", "MAXRELENH", "WASHIN", "WASHOUT", "BREVENH", "AREACURV"),
    # Arithmetic
    *("SUBTRACTION", "SUBTRACT", "SUB", "DIVISION", "MULTIPLICATION", "STD_DEVIATION"),
    *("T_TEST", "Z_SCORE", "QUANTITY"),
    # Others
    *("METABOLITE_MAP", "TEMPERATURE", "STIFFNESS", "ELASTOGRAM", "MOSAIC", "SNR_MAP"),
    *("IODINE", "IODINE_MAP", "Z_EFF", "ELECTRON_DENSITY", "MAT_FRACTIONAL", "MAT_REMOVED"),
}
_MAPS_IF_DERIVED = {"T0", "T1", "T2"}
"""Philips: a map where the image is derived, and the name of a contrast where it is original."""
_BY_WORD: dict[str, MriKind] = {
    **dict.fromkeys(("W", "WATER", "DIXON_WATER"), "dixon-water"),
    **dict.fromkeys(("F", "FAT", "DIXON_FAT"), "dixon-fat"),
    **dict.fromkeys(("IP", "IN_PHASE", "INPHASE"), "in-phase"),
    **dict.fromkeys(
        ("OP", "OPP_PHASE", "OUT_PHASE", "OUT_OF_PHASE", "OPPOSED_PHASE"), "opposed-phase"
    ),
    **dict.fromkeys(("SWI", "SWAN", "SUSCEPTIBILITY"), "SWI"),
    **dict.fromkeys(("TOF", "ANGIO_TIME"), "TOF"),
    "DIFFUSION": "DWI",
}
_BY_CONTRAST: dict[str, MriKind] = {
    "DIFFUSION": "DWI",
    "FLUID_ATTENUATED": "FLAIR",
    "PROTON_DENSITY": "PDw",
    "T1": "T1w",
    "T2": "T2w",
    "TOF": "TOF",
}
"""AcquisitionContrast (PS3.3 C.8.13.3.1.2); terms that name no kind of ours are absent."""


def not_anatomy(facts: ImageFacts) -> VolumeError | None:
    """Return why the images show no anatomy: localizer, phase, projection or map; else None."""
    found = set(facts.image_type)
    is_derived = "DERIVED" in found
    if found & _LOCALIZERS:
        return left_out("localizer", "a localizer")
    if facts.component in _COMPONENTS or found & _PHASES:
        return left_out("phase-image", "a phase, real or imaginary part, not a magnitude")
    if (
        found & _PROJECTIONS
        or facts.technique in _PROJECTIONS
        or facts.volumetric in ("SAMPLED", "DISTORTED")
    ):
        return left_out("projection", "a projection or a rendering: its voxels are no places")
    if found & _MAPS or (is_derived and found & _MAPS_IF_DERIVED):
        return left_out("derived-map", "a computed map or a mosaic, not the anatomy")
    return None


def left_out(code: str, what: str) -> VolumeError:
    """Return the reason for images that are left out unless their kind is asked for by name."""
    return VolumeError(
        code, f"The images are {what}.", "Nothing to do: they are left out unless asked for."
    )


def kind_of(facts: ImageFacts, modality: Modality) -> ImageKind:
    """Return the kind of an image."""
    return _mri_kind(facts) if modality == "mri" else _ct_kind(facts)


def _ct_kind(facts: ImageFacts) -> CtKind:
    found = set(facts.image_type)
    if found & _LOCALIZERS:
        return "topogram"
    if "DERIVED" in found or not_anatomy(facts):
        return "derived"
    if facts.has_agent:
        return "contrast"
    return "native" if "ORIGINAL" in found else "unknown"


def _mri_kind(facts: ImageFacts) -> MriKind:
    found = set(facts.image_type)
    if found & _LOCALIZERS:
        return "localizer"
    if found & _ADC:
        return "ADC"
    if not_anatomy(facts):
        return "derived"
    named = next((_BY_WORD[each] for each in facts.image_type if each in _BY_WORD), None)
    if named is None and "DERIVED" in found:
        return "derived"
    contrast = named or _BY_CONTRAST.get(facts.acquisition_contrast) or _by_timing(facts)
    return "T1w-contrast" if contrast == "T1w" and facts.has_agent else contrast


def _by_timing(facts: ImageFacts) -> MriKind:
    """Return the contrast that the timing gives; the bounds are those of clinical protocols."""
    sequence, variant = set(facts.sequence), set(facts.variant)
    echo, repetition, inversion = facts.echo_ms, facts.repetition_ms, facts.inversion_ms
    if facts.b_value:
        return "DWI"
    if facts.is_angio or ("GR" in sequence and "MTC" in variant and "FC" in facts.options):
        return "TOF"
    if echo is None or repetition is None or facts.acquisition_contrast not in ("", "UNKNOWN"):
        return "unknown"
    if inversion and "GR" not in sequence:
        if inversion >= 1500 and echo >= 60:
            return "FLAIR"
        return "T1w" if 400 <= inversion <= 1300 and echo <= 40 else "unknown"
    if "EP" in sequence:
        return "unknown"
    if "GR" in sequence:
        return _by_gradient_echo(facts, echo, repetition)
    if 250 <= repetition <= 1000 and echo <= 35:
        return "T1w"
    if repetition >= 1800 and echo >= 60:
        return "T2w"
    return "PDw" if repetition >= 1800 and echo <= 45 else "unknown"


def _by_gradient_echo(facts: ImageFacts, echo: float, repetition: float) -> MriKind:
    """Return T1w for inversion-prepared and for spoiled gradient echoes of short echo times."""
    if echo > 10:
        return "unknown"  # T2*-weighted, or SWI that nothing else names
    if facts.inversion_ms:
        return "T1w" if 400 <= facts.inversion_ms <= 1300 else "unknown"
    is_spoiled = bool({"SP", "MP"} & set(facts.variant))
    return (
        "T1w" if is_spoiled and (facts.flip_degrees or 0) >= 8 and repetition < 500 else "unknown"
    )
