"""Finds the volumes of the simplest layout: a folder of MRIs and one of CTs, files and DICOM.

The subject of a file is the first folder below --mri or --ct, or its own name if it lies directly
in it. A folder of several files is one subject, so that scans of one person never end up in
training and test. The subject of a DICOM series is given by its header.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from data_prep.datasets.dataset import (
    SUFFIXES_TEXT,
    FoundVolume,
    FoundVolumes,
    KindCount,
    check_folder,
    volume_files,
)
from data_prep.datasets.nifti_facts import file_facts
from data_prep.datasets.pairing import pair_dicom, pair_files
from data_prep.datasets.series_choice import EVERYTHING, SeriesChoice
from data_prep.dicom.series import Series, find_series
from data_prep.readers.formats import stem_of
from data_prep.readers.tolerances import Leniency
from mrct.errors import UsageError
from mrct.imaging.volume import Modality


def find_in_folders(
    folders: Mapping[Modality, Path],
    leniency: Leniency,
    *,
    choices: Mapping[Modality, SeriesChoice] | None = None,
    paired: bool = False,
    same_subjects: bool = False,
) -> FoundVolumes:
    """Return the volume files and DICOM series at any depth below one folder per modality.

    `choices` selects among the kinds of image that a folder has, before volumes are paired;
    without it all that show anatomy are taken.
    Equal names in both folders are one subject with `same_subjects`, and an aligned pair with
    `paired`; otherwise they are two subjects. With `paired`, DICOM series of one patient are a
    pair if they share a frame of reference.

    Raises:
        UsageError: A folder has no volume of its modality, or several kinds and no choice was
            made, or both contain the same file.
    """
    skipped: Counter[str] = Counter()
    series: dict[Path, list[Series]] = {}
    files: list[FoundVolume] = []
    dicom: list[FoundVolume] = []
    kinds: list[KindCount] = []
    for modality, folder in folders.items():
        check_folder(folder, f"--{modality}")
        own = [_file(path, folder, modality) for path in volume_files(folder, skipped)]
        resolved = folder.resolve()
        is_new = resolved not in series
        if is_new:  # a mixed study is given for both modalities and read once
            series[resolved] = find_series(folder)
        found, left = _of_modality(series[resolved], modality, is_new=is_new)
        choice = (choices or {}).get(modality, EVERYTHING)
        selection = choice.select(own + found, modality)
        left += selection.skipped
        if not selection.volumes:
            raise _nothing(folder, modality, left)
        files += [volume for volume in selection.volumes if volume.series is None]
        dicom += [volume for volume in selection.volumes if volume.series]
        kinds += selection.table
        skipped += left
    _check_apart(files)
    remarks = []
    if paired or same_subjects:
        files = [replace(volume, subject=volume.label) for volume in files]
    elif shared := _shared_labels(files):
        remarks.append(
            f"{shared} name(s) occur below both --mri and --ct and were taken for different "
            "subjects. If they are the same, give --same-subjects (or --paired if the two are "
            "aligned): otherwise a subject could be in both training and test."
        )
    if paired:
        files, of_files = pair_files(files)
        dicom, of_dicom = pair_dicom(dicom, leniency)
        remarks += of_files + of_dicom
    return FoundVolumes(volumes=files + dicom, skipped=skipped, remarks=remarks, kinds=kinds)


def dicom_volume(series: Series, modality: Modality, left_out: str = "") -> FoundVolume:
    """Return a DICOM series as a volume; its header gives the subject."""
    identity = series.identity or series.name
    return FoundVolume(
        path=series.paths[0].parent,
        modality=modality,
        name=series.name,
        subject=identity,
        label=identity.split("\0")[0],
        series=series,
        kind=series.kind,
        facts=series.facts,
        left_out=left_out,
    )


def _file(path: Path, folder: Path, modality: Modality) -> FoundVolume:
    relative = path.relative_to(folder)
    label = relative.parts[0] if len(relative.parts) > 1 else stem_of(path.name)
    kind, facts, error = file_facts(path, modality)
    return FoundVolume(
        path=path,
        modality=modality,
        name=relative.as_posix(),
        subject=f"{modality} {label}",
        label=label,
        kind=kind,
        facts=facts,
        left_out=error.code if error else "",
    )


def _of_modality(
    found: list[Series], modality: Modality, *, is_new: bool
) -> tuple[list[FoundVolume], Counter[str]]:
    """Return the series to choose from, and the others counted by reason; objects of no modality
    only if the folder `is_new`.

    Damaged files are included, so that they are refused by name, but only if the folder contains
    DICOM at all: an empty file beside NIfTI files is ignored.
    """
    has_dicom = any(series.headers for series in found)
    chosen: list[FoundVolume] = []
    left: Counter[str] = Counter()
    for series in found:
        asked = series.if_asked
        if series.modality == modality or (has_dicom and not series.headers):
            chosen.append(dicom_volume(series, modality))
        elif asked and asked.modality == modality and series.error:
            chosen.append(dicom_volume(asked, modality, series.error.code))
        elif series.modality or asked:
            left["DICOM: other-modality"] += 1
        elif series.error and is_new:
            left[f"DICOM: {series.error.code}"] += 1
    return chosen, left


def _shared_labels(files: list[FoundVolume]) -> int:
    labels = {m: {volume.label for volume in files if volume.modality == m} for m in ("mri", "ct")}
    return len(labels["mri"] & labels["ct"])


def _check_apart(files: list[FoundVolume]) -> None:
    counts = Counter(volume.path.resolve() for volume in files)
    if twice := sum(count > 1 for count in counts.values()):
        raise UsageError(
            f"{twice} file(s) lie below both --mri and --ct, and the modality of a file of this "
            "kind is not recorded in it. Give two folders with one modality each, or list the "
            "files with --manifest. (A mixed DICOM study may be given for both.)"
        )


def _nothing(folder: Path, modality: Modality, left: Counter[str]) -> UsageError:
    entries = sum(1 for _ in folder.iterdir())
    found = f"it has {entries} other entries" + "".join(f", {n} x {why}" for why, n in left.items())
    return UsageError(
        f"No {modality.upper()} volume: {folder} contains no {SUFFIXES_TEXT} file and no DICOM "
        f"series of this modality, at any depth ({found}). Give the folder that contains the "
        "volumes, or list them with --manifest."
    )
