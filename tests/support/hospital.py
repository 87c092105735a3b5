"""A folder as a hospital exports it: whole studies, of which few series are wanted."""

from pathlib import Path

from tests.support.series import Change, both, setting, write_series

ORIGINAL, DERIVED = ("ORIGINAL", "PRIMARY"), ("DERIVED", "PRIMARY")
PATIENTS = ("ada", "bea", "cid", "dag", "eva", "fee")
NUM_SLICES = 3
AGENT = {"ContrastBolusAgent": "Gadobutrol"}
SPIN_ECHO = {"ScanningSequence": "SE", "SequenceVariant": "SK"}
STEPS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
}


def typed(*words: str, **tags: object) -> Change:
    return setting(ImageType=list(words), **tags)


MR: dict[str, list[Change]] = {
    "t1": [typed(*ORIGINAL, "M", EchoTime=12, RepetitionTime=550, **SPIN_ECHO)],
    "t1-contrast": [typed(*ORIGINAL, "M", EchoTime=12, RepetitionTime=550, **SPIN_ECHO, **AGENT)],
    "t2": [typed(*ORIGINAL, "M", EchoTime=95, RepetitionTime=4500, **SPIN_ECHO, **AGENT)],
    "flair": [
        typed(
            *(*ORIGINAL, "M"),
            EchoTime=120,
            RepetitionTime=9000,
            InversionTime=2500,
            ScanningSequence=["SE", "IR"],
        )
    ],
    "dwi": [
        typed(*ORIGINAL, "DIFFUSION", "NONE", DiffusionBValue=float(b), ScanningSequence="EP")
        for b in (0, 1000)
    ],
    "adc": [typed(*DERIVED, "DIFFUSION", "ADC")],
    "trace": [typed(*DERIVED, "DIFFUSION", "TRACEW")],
    "dixon": [
        typed(*DERIVED, "DIXON", words) for words in ("WATER", "FAT", "IN_PHASE", "OUT_PHASE")
    ],
    "mip": [typed(*DERIVED, "MIP")],
    "capture": [typed(*DERIVED, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")],
}
"""Each series with the images at every position; all of one series have one UID."""
CT: dict[str, list[Change]] = {
    "native": [typed(*ORIGINAL, "AXIAL")],
    "contrast": [typed(*ORIGINAL, "AXIAL", ContrastBolusAgent="Iopromide")],
    "topogram": [typed(*ORIGINAL, "LOCALIZER")],
}
TABLE = {
    ("mri", "T1w", ""): 6,
    ("mri", "T1w-contrast", ""): 6,
    ("mri", "T2w", ""): 6,
    ("mri", "FLAIR", ""): 6,
    ("mri", "DWI", ""): 12,
    ("mri", "dixon-water", ""): 6,
    ("mri", "dixon-fat", ""): 6,
    ("mri", "in-phase", ""): 6,
    ("mri", "opposed-phase", ""): 6,
    ("mri", "localizer", "localizer"): 18,
    ("mri", "ADC", "derived-map"): 6,
    ("mri", "derived", "derived-map"): 6,
    ("mri", "derived", "projection"): 6,
    ("ct", "native", ""): 6,
    ("ct", "contrast", ""): 6,
    ("ct", "topogram", "localizer"): 6,
}
"""What the table of kinds must say: volumes by modality, kind and reason to leave them out."""


def write_export(folder: Path) -> Path:
    """Write the studies of all patients, each into a folder of its own."""
    for number, patient in enumerate(PATIENTS):
        study = setting(PatientID=patient, PatientName=patient, StudyInstanceUID=f"1.3.{number}")
        place = folder / f"{number}"
        for modality, all_series in (("MR", MR), ("CT", CT)):
            for index, (name, images) in enumerate(all_series.items()):
                own = setting(SeriesInstanceUID=f"1.3.{number}.{modality == 'CT':d}.{index}")
                for image, change in enumerate(images):
                    write_series(
                        place,
                        both(change, study, own),
                        modality=modality,
                        without=range(NUM_SLICES, 8),
                        name=f"{name}-{image}-{{}}",
                    )
        for plane, orientation in STEPS.items():  # no word says that it is a localizer
            write_series(
                place,
                both(study, setting(SeriesInstanceUID=f"1.3.{number}.2")),
                modality="MR",
                orientation=orientation,
                without=range(NUM_SLICES, 8),
                name=f"scout-{plane}-{{}}",
            )
    return folder
