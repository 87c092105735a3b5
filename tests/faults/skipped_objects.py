"""DICOM objects that are no CT or MR volume: counted by reason, and nobody's fault."""

from tests.faults.case import Case
from tests.support.series import setting, write_series

STORAGE = "1.2.840.10008.5.1.4.1.1."


def other(what: str, code: str, **tags: object) -> Case:
    """Three objects that are no slices of a volume."""

    def make(folder):
        change = setting(SeriesInstanceUID="1.2.8", **tags)
        write_series(folder, change, without={0, 1, 2, 3, 4})

    return Case(what=what, code=code, make=make, is_beside=True)


CASES = [
    other("a secondary capture", "secondary-capture", SOPClassUID=STORAGE + "7"),
    other("a structured report", "structured-report", SOPClassUID=STORAGE + "88.33"),
    other("a dose report", "structured-report", SOPClassUID=STORAGE + "88.67"),
    other("a structure set (RTSTRUCT)", "radiotherapy-object", SOPClassUID=STORAGE + "481.3"),
    other("a PET series", "not-ct-or-mr", SOPClassUID=STORAGE + "128", Modality="PT"),
    other("colour images", "colour", SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    other("a localizer", "localizer", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    other("a perfusion map", "derived-map", ImageType=["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]),
    other("an FA map", "derived-map", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "FA"]),
    other("a subtraction", "derived-map", ImageType=["DERIVED", "SECONDARY", "SUBTRACTION"]),
    other("a MIP", "projection", ImageType=["DERIVED", "PRIMARY", "MIP"]),
    other(
        "a MinIP (VolumeBasedCalculationTechnique)",
        "projection",
        VolumeBasedCalculationTechnique="MIN_IP",
    ),
    other("a phase image", "phase-image", ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]),
    other("a real part (ComplexImageComponent)", "phase-image", ComplexImageComponent="REAL"),
    Case(
        what="a localizer that no word names: slices 22 mm apart",
        code="localizer",
        make=lambda folder: write_series(
            folder, setting(SeriesInstanceUID="1.2.8"), step=(0, 0, 22.4)
        ),
        is_beside=True,
    ),
]
