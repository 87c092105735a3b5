"""What an image shows is decided by the standard's attributes, and what none names is unknown."""

import pytest

from data_prep.dicom.image_facts import ImageFacts, image_facts
from data_prep.dicom.image_kind import KINDS, PHANTOM, kind_of, not_anatomy

ORIGINAL = ["ORIGINAL", "PRIMARY"]
DERIVED = ["DERIVED", "PRIMARY"]


def facts(*image_type: str, **tags: object) -> ImageFacts:
    return image_facts({"ImageType": list(image_type), **tags}.get)


MAPS = [
    # As scanners write them: Siemens, Philips, GE, Canon, and the terms of the standard.
    ("derived-map", facts(*DERIVED, "DIFFUSION", "FA", "ND", "NORM")),
    ("derived-map", facts(*DERIVED, "DIFFUSION", "TRACEW", "ND", "NORM")),
    ("derived-map", facts(*DERIVED, "DIFFUSION", "ADC", "ND")),
    ("derived-map", facts(*DERIVED, "M", "T1 MAP")),
    ("derived-map", facts(*DERIVED, "T2 MAP", "T2", "UNSPECIFIED")),
    ("derived-map", facts(*DERIVED, "T1", "T1")),
    ("derived-map", facts(*ORIGINAL, "M", "B0", "MAP")),
    ("derived-map", facts(*DERIVED, "FLIP ANGLE MAP")),
    ("derived-map", facts("DERIVED", "SECONDARY", "CBF")),
    ("derived-map", facts("DERIVED", "SECONDARY", "RCBV")),
    ("derived-map", facts(*DERIVED, "DIXON", "FAT_FRACTION")),
    ("derived-map", facts("DERIVED", "SECONDARY", "SUBTRACTION")),
    ("derived-map", facts(*DERIVED, "VOLUME", "SUBTRACTION")),
    ("derived-map", facts(*DERIVED, "AXIAL", "IODINE")),
    ("projection", facts(*DERIVED, "MIP")),
    ("projection", facts(*ORIGINAL, "M", "SWI", "MNIP")),
    ("projection", facts("DERIVED", "SECONDARY", "AXIAL", "MIN_IP")),
    ("projection", facts(*DERIVED, "PROJECTION IMAGE", "COLLAPSE")),
    ("projection", facts(*DERIVED, "VOLUME", "NONE", VolumeBasedCalculationTechnique="MAX_IP")),
    ("projection", facts(*DERIVED, VolumeBasedCalculationTechnique="CURVED_MPR")),
    ("projection", facts(*DERIVED, "VOLUME", "NONE", VolumetricProperties="SAMPLED")),
    ("phase-image", facts(*ORIGINAL, "P", "ND")),
    ("phase-image", facts(*ORIGINAL, "PHASE MAP", "P", "FFE")),
    ("phase-image", facts(*ORIGINAL, "VOLUME", "NONE", ComplexImageComponent="PHASE")),
    ("phase-image", facts(*ORIGINAL, "VOLUME", "NONE", ComplexImageComponent="REAL")),
    ("phase-image", facts(*ORIGINAL, "MIXED", "MIXED", FrameType=[*ORIGINAL, "P", "FFE"])),
    ("localizer", facts(*ORIGINAL, "LOCALIZER")),
    ("localizer", facts("ORIGINAL", "SECONDARY", "AXIAL", "SCOUT")),
]


@pytest.mark.parametrize(
    ("code", "found"), MAPS, ids=lambda each: str(getattr(each, "image_type", each))
)
@pytest.mark.parametrize("modality", ["mri", "ct"])
def test_what_shows_no_anatomy_is_told(modality, code, found):
    assert not_anatomy(found).code == code
    assert kind_of(found, modality) in ("derived", "localizer", "topogram", "ADC")


@pytest.mark.parametrize(
    "found",
    [
        facts(*ORIGINAL, "M", "ND", "NORM"),
        facts(*ORIGINAL, "MPR"),
        facts(*ORIGINAL, "T1", "MIXED"),
        facts(*ORIGINAL, "M_FFE", "M", "FFE"),
        facts(*ORIGINAL, "AXIAL", "ADD"),
        facts("DERIVED", "SECONDARY", "MPR"),
        facts("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"),
        facts(*ORIGINAL, "VOLUME", "NONE", VolumetricProperties="VOLUME"),
        facts(*ORIGINAL, "VOLUME", "NONE", VolumeBasedCalculationTechnique="NONE"),
        facts(*ORIGINAL, "VOLUME", "NONE", ComplexImageComponent="MAGNITUDE"),
        facts(),
    ],
)
def test_what_may_show_anatomy_is_not_left_out(found):
    assert not_anatomy(found) is None


SE = {"ScanningSequence": "SE"}
GR = {"ScanningSequence": "GR", "SequenceVariant": ["SK", "SP"]}
M = (*ORIGINAL, "M", "ND")


def timed(echo: float, repetition: float, **tags: object) -> ImageFacts:
    return facts(*M, EchoTime=echo, RepetitionTime=repetition, **tags)


MRI = [
    ("T1w", timed(12, 550, **SE)),
    ("T1w", timed(2.3, 1900, InversionTime=900, ScanningSequence=["GR", "IR"])),  # MPRAGE
    ("T1w", timed(4.6, 9.8, FlipAngle=8, ScanningSequence="GR", SequenceVariant="MP")),  # TFE
    ("T1w", timed(10, 2000, InversionTime=860, ScanningSequence=["SE", "IR"])),  # T1 FLAIR
    ("T1w-contrast", timed(12, 550, ContrastBolusAgent="Dotarem", **SE)),
    ("T1w-contrast", timed(4, 9, FlipAngle=15, ContrastBolusAgent="Gadovist 7.5 ml", **GR)),
    ("T1w", timed(12, 550, ContrastBolusAgent="None", **SE)),
    ("T2w", timed(95, 4500, **SE)),
    ("T2w", timed(95, 4500, ContrastBolusAgent="Dotarem", **SE)),
    ("T2w", timed(330, 3200, MRAcquisitionType="3D", **SE)),
    ("FLAIR", timed(120, 9000, InversionTime=2500, ScanningSequence=["SE", "IR"])),
    ("FLAIR", timed(394, 6000, InversionTime=2200, ScanningSequence=["SE", "IR"])),
    ("PDw", timed(22, 2300, **SE)),
    ("TOF", timed(3.8, 22, FlipAngle=20, AngioFlag="Y", **GR)),
    ("TOF", timed(3.8, 22, ScanningSequence="GR", SequenceVariant=["SP", "MTC"], ScanOptions="FC")),
    ("DWI", timed(80, 4000, DiffusionBValue=1000.0, ScanningSequence="EP")),
    ("DWI", facts(*ORIGINAL, "DIFFUSION", "NONE", "ND")),
    ("SWI", facts(*ORIGINAL, "M", "SWI", "NORM")),
    ("ADC", facts(*DERIVED, "DIFFUSION", "ADC")),
    ("ADC", facts(*DERIVED, "ADC_UNSPECIFIED", "ADC")),
    ("dixon-water", facts(*DERIVED, "DIXON", "WATER")),
    ("dixon-water", facts(*DERIVED, "W", "W", "DERIVED")),
    ("dixon-fat", facts(*ORIGINAL, "DIXON", "FAT")),
    ("dixon-fat", facts(*DERIVED, "F", "F", "DERIVED")),
    ("in-phase", facts(*ORIGINAL, "IP", "IP", "FFE")),
    ("in-phase", facts(*ORIGINAL, "DIXON", "IN_PHASE")),
    ("opposed-phase", facts(*ORIGINAL, "M", "OPP_PHASE")),
    ("opposed-phase", facts(*ORIGINAL, "DIXON", "OUT_PHASE")),
    ("T1w", facts(*ORIGINAL, "VOLUME", "NONE", AcquisitionContrast="T1")),
    ("FLAIR", facts(*ORIGINAL, "VOLUME", "NONE", AcquisitionContrast="FLUID_ATTENUATED")),
    ("localizer", facts(*ORIGINAL, "LOCALIZER")),
    ("derived", facts("DERIVED", "SECONDARY", "MPR")),
    ("derived", facts(*DERIVED, "M", "UNI", "NORM")),  # MP2RAGE
    ("unknown", timed(25, 30, FlipAngle=15, **GR)),  # T2* or SWI: nothing says which
    ("unknown", timed(60, 4500, InversionTime=160, ScanningSequence=["SE", "IR"])),  # STIR
    ("unknown", timed(1.6, 4, FlipAngle=60, ScanningSequence="GR", SequenceVariant="SS")),
    ("unknown", timed(30, 2000, ScanningSequence="EP")),  # functional
    ("unknown", facts(*M)),
]


@pytest.mark.parametrize(("kind", "found"), MRI)
def test_the_kind_of_an_mri_follows_from_its_header(kind, found):
    assert kind_of(found, "mri") == kind


CT = [
    ("native", facts(*ORIGINAL, "AXIAL")),
    ("native", facts(*ORIGINAL, "AXIAL", ContrastBolusAgent="NONE")),
    ("contrast", facts(*ORIGINAL, "AXIAL", ContrastBolusAgent="Ultravist 370")),
    ("contrast", facts(*ORIGINAL, "AXIAL", ContrastBolusAgentSequence=[object()])),
    ("topogram", facts(*ORIGINAL, "LOCALIZER")),
    ("derived", facts("DERIVED", "SECONDARY", "MPR")),
    ("unknown", facts()),
]


@pytest.mark.parametrize(("kind", "found"), CT)
def test_the_kind_of_a_ct_follows_from_its_header(kind, found):
    assert kind_of(found, "ct") == kind


def test_the_text_of_an_agent_is_not_kept():
    assert "CANARY" not in repr(timed(12, 550, ContrastBolusAgent="CANARY JANE", **SE))


def test_every_kind_is_decided_by_some_header():
    # A phantom is known by a file beside its cohort.
    assert {kind for kind, _ in MRI} | {PHANTOM} == set(KINDS["mri"])
    assert {kind for kind, _ in CT} | {PHANTOM} == set(KINDS["ct"])


@pytest.mark.parametrize("value", ["4,6", "", None, "abc", [4.6, 9.2], "1e999"])
def test_a_value_that_is_no_number_counts_as_absent(value):
    assert timed(value, value, InversionTime=value).echo_ms is None


def test_a_value_of_a_mixed_object_holds_for_no_frame():
    mixed = facts("DERIVED", "PRIMARY", "MIXED", "ADC", FrameType=[*ORIGINAL, "VOLUME", "NONE"])
    whole = facts(*DERIVED, "VOLUME", "ADC", FrameType=[*ORIGINAL, "VOLUME", "NONE"])

    assert not_anatomy(mixed) is None
    assert not_anatomy(whole).code == "derived-map"
