"""The plainest layout: a folder of MRIs and a folder of CTs, files and DICOM at any depth.

Whose a file is, its place says: the first folder below --mri or --ct, or at the top its own name.
Scans of one person must not be told apart, or they could be trained on and tested on; so a folder
of several files is one subject. DICOM says itself whose a series is.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from data_prep.datasets.dataset import SUFFIXES_TEXT, Findings, Found, check_folder, volume_files
from data_prep.datasets.pairing import pair_dicom, pair_files
from data_prep.dicom.series import Series, find_series
from data_prep.readers.formats import stem_of
from data_prep.readers.tolerances import Leniency
from mrct.errors import UsageError
from mrct.imaging.volume import Modality


def find_in_folders(
    folders: Mapping[Modality, Path],
    leniency: Leniency,
    *,
    paired: bool = False,
    same_subjects: bool = False,
) -> Findings:
    """The volume files and DICOM series at any depth below one folder per modality.

    Equal names on both sides are one subject with `same_subjects`, and an aligned pair of it with
    `paired`; else they are two people. DICOM series of one patient are a pair, with `paired`,
    where they share a frame of reference.

    Raises:
        UsageError: A folder holds no volume of its modality, or both hold the same file.
    """
    skipped: Counter[str] = Counter()
    series: dict[Path, list[Series]] = {}
    files: list[Found] = []
    dicom: list[Found] = []
    for modality, folder in folders.items():
        check_folder(folder, f"--{modality}")
        own = [_file(path, folder, modality) for path in volume_files(folder, skipped)]
        place = folder.resolve()
        if place not in series:  # a mixed study is named at both and read once
            series[place] = find_series(folder)
        chosen, left = _of_modality(series[place], modality)
        if not own and not chosen:
            raise _nothing(folder, modality, left)
        files += own
        dicom += [dicom_volume(each, modality) for each in chosen]
        skipped += left
    _check_apart(files)
    remarks = []
    if paired or same_subjects:
        files = [replace(volume, subject=volume.label) for volume in files]
    elif shared := _shared_labels(files):
        remarks.append(
            f"{shared} name(s) occur below both --mri and --ct and were taken for different "
            "people. If they are the same, give --same-subjects (or --paired where the two are "
            "aligned): else somebody could be trained on and tested on."
        )
    if paired:
        files, of_files = pair_files(files)
        dicom, of_dicom = pair_dicom(dicom, leniency)
        remarks += of_files + of_dicom
    return Findings(volumes=files + dicom, skipped=skipped, remarks=remarks)


def dicom_volume(series: Series, modality: Modality) -> Found:
    """A DICOM series as a volume; its header says whose it is."""
    identity = series.identity or series.name
    return Found(
        path=series.paths[0].parent,
        modality=modality,
        name=series.name,
        subject=identity,
        label=identity.split("\0")[0],
        series=series,
    )


def _file(path: Path, folder: Path, modality: Modality) -> Found:
    place = path.relative_to(folder)
    label = place.parts[0] if len(place.parts) > 1 else stem_of(path.name)
    return Found(
        path=path,
        modality=modality,
        name=place.as_posix(),
        subject=f"{modality} {label}",
        label=label,
    )


def _of_modality(found: list[Series], modality: Modality) -> tuple[list[Series], Counter[str]]:
    """The series to convert, and why others are left alone.

    Damaged files are chosen too, to be refused by name; but only where there is DICOM at all: an
    empty file beside NIfTI files is nobody's.
    """
    has_dicom = any(series.headers for series in found)
    chosen: list[Series] = []
    left: Counter[str] = Counter()
    for series in found:
        if series.modality == modality or (has_dicom and not series.headers):
            chosen.append(series)
        else:
            left[f"DICOM: {series.error.code if series.error else 'other-modality'}"] += 1
    return chosen, left


def _shared_labels(files: list[Found]) -> int:
    labels = {m: {volume.label for volume in files if volume.modality == m} for m in ("mri", "ct")}
    return len(labels["mri"] & labels["ct"])


def _check_apart(files: list[Found]) -> None:
    counts = Counter(volume.path.resolve() for volume in files)
    if twice := sum(count > 1 for count in counts.values()):
        raise UsageError(
            f"{twice} file(s) lie below both --mri and --ct, and no file of this kind says which "
            "of the two it is. Name two folders that hold one modality each, or list the files "
            "with --manifest. (A mixed DICOM study may be named at both.)"
        )


def _nothing(folder: Path, modality: Modality, left: Counter[str]) -> UsageError:
    entries = sum(1 for _ in folder.iterdir())
    found = f"it has {entries} other entries" + "".join(f", {n} x {why}" for why, n in left.items())
    return UsageError(
        f"No {modality.upper()} volume: {folder} holds no {SUFFIXES_TEXT} file and no DICOM series "
        f"of this modality, at any depth ({found}). Name the folder that holds the volumes, or "
        "list them with --manifest."
    )
