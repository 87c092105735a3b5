"""Finds the volumes of the simplest layout: a folder of MRIs and one of CTs, files and DICOM.

Instead of a folder a pattern may be given (`places.py`). The subject of a file is the first folder
below --mri or --ct, or its own name if it lies directly in it, or what a pattern names. A folder of
several files is one subject, so that scans of one person never end up in training and test. The
subject of a DICOM series is given by its header, unless --subject-by says otherwise.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
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
from data_prep.datasets.places import InputPlace, is_pattern, places_of
from data_prep.datasets.series_choice import EVERYTHING, SeriesChoice
from data_prep.datasets.split import SubjectRule
from data_prep.datasets.subjects import subject_of, subject_remarks
from data_prep.datasets.unread_files import OTHER_MATCH, unread_files
from data_prep.dicom.series import Series, find_series
from data_prep.readers.formats import VOLUME_SUFFIXES, stem_of
from data_prep.readers.tolerances import Leniency
from mrct.errors import UsageError
from mrct.imaging.modality import Modality


def find_in_folders(
    given: Mapping[Modality, Path],
    leniency: Leniency,
    *,
    choices: Mapping[Modality, SeriesChoice] | None = None,
    paired: bool = False,
    same_subjects: bool = False,
    subject_by: SubjectRule = "id",
) -> FoundVolumes:
    """Return the volume files and DICOM series at any depth below one folder per modality, or of
    the matches of one pattern per modality.

    `choices` selects among the kinds of image on a side, before volumes are paired; without it all
    that show anatomy are taken.
    Equal names on both sides are one subject with `same_subjects`, and an aligned pair with
    `paired`; otherwise they are two subjects. With `paired`, DICOM series of one patient are a
    pair if they share a frame of reference.

    Raises:
        UsageError: A folder has no volume of its modality, or several kinds and no choice was
            made, or both contain the same file.
    """
    skipped: Counter[str] = Counter()
    series: dict[frozenset[Path], list[Series]] = {}
    files: list[FoundVolume] = []
    dicom: list[FoundVolume] = []
    kinds: list[KindCount] = []
    folders: list[Path] = []
    met: set[Path] = set()
    is_mixed = len(given) > len(set(given.values()))
    for modality, path in given.items():
        if not is_pattern(path):
            check_folder(path, f"--{modality}")
        places = places_of(path, f"--{modality}")
        own = _files_of(places, modality, skipped)
        met |= {volume.path for volume in own}
        own_folders = [place.path for place in places if place.path.is_dir()]
        key = frozenset(folder.resolve() for folder in own_folders)
        is_new = key not in series
        if is_new:  # a mixed study is given for both modalities and read once
            series[key] = find_series(*own_folders)
        found, left = _of_modality(series[key], modality, subject_by, is_new=is_new)
        choice = (choices or {}).get(modality, EVERYTHING)
        selection = choice.select(own + found, modality)
        left += selection.skipped
        if not selection.volumes:
            raise _nothing(path, modality, left)
        of_path = {place.path: place for place in places}
        files += [volume for volume in selection.volumes if volume.series is None]
        dicom += [
            _named_by_place(volume, volume.series, of_path, subject_by, is_mixed=is_mixed)
            for volume in selection.volumes
            if volume.series
        ]
        kinds += selection.table
        skipped += left
        folders += own_folders
    _check_apart(files)
    dicom_files = {path for of_place in series.values() for each in of_place for path in each.paths}
    skipped += unread_files(folders, met | dicom_files)
    remarks = subject_remarks((v.series for v in dicom if v.series), subject_by)
    named = [volume for volume in files + dicom if volume.subject == _own(volume)]
    if paired or same_subjects:
        files = [_joined(volume) for volume in files]
        dicom = [_joined(volume) for volume in dicom]
    elif shared := _shared_labels(named):
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


def _files_of(
    places: Sequence[InputPlace], modality: Modality, skipped: Counter[str]
) -> list[FoundVolume]:
    """Return the volume files at the places and below them."""
    found = []
    for place in places:
        if place.path.is_dir():
            found += [_file(path, place, modality) for path in volume_files(place.path, skipped)]
        elif place.path.name.lower().endswith(VOLUME_SUFFIXES):
            found.append(_file(place.path, place, modality))
        else:
            skipped[OTHER_MATCH] += 1
    return found


def _named_by_place(
    volume: FoundVolume,
    series: Series,
    places: Mapping[Path, InputPlace],
    rule: SubjectRule,
    *,
    is_mixed: bool,
) -> FoundVolume:
    """Return the volume of a series as one of the subject that the rule, or the pattern, names."""
    first = series.paths[0]
    place = next(places[path] for path in (first, *first.parents) if path in places)
    if rule != "folder" and not place.is_subject_named:
        return volume
    label = _label(first, place)
    return replace(volume, subject=label if is_mixed else f"{volume.modality} {label}", label=label)


def dicom_volume(
    series: Series, modality: Modality, rule: SubjectRule = "id", left_out: str = ""
) -> FoundVolume:
    """Return a DICOM series as a volume; its header gives the subject."""
    identity, label = subject_of(series, rule)
    return FoundVolume(
        path=series.paths[0].parent,
        modality=modality,
        name=series.name,
        subject=identity,
        label=label,
        series=series,
        kind=series.kind,
        facts=series.facts,
        left_out=left_out,
    )


def _file(path: Path, place: InputPlace, modality: Modality) -> FoundVolume:
    label = _label(path, place)
    kind, facts, error = file_facts(path, modality)
    volume = FoundVolume(
        path=path,
        modality=modality,
        name=path.relative_to(place.base).as_posix(),
        subject="",
        label=label,
        kind=kind,
        facts=facts,
        left_out=error.code if error else "",
    )
    return replace(volume, subject=_own(volume))


def _label(path: Path, place: InputPlace) -> str:
    """Return the subject that the path names."""
    inner = path.relative_to(place.base)
    return place.label or (inner.parts[0] if len(inner.parts) > 1 else stem_of(path.name))


def _own(volume: FoundVolume) -> str:
    """Return the identity of a subject that a path below one of the two folders names."""
    return f"{volume.modality} {volume.label}"


def _joined(volume: FoundVolume) -> FoundVolume:
    """Return a volume whose subject is the one of the same name on the other side."""
    return replace(volume, subject=volume.label) if volume.subject == _own(volume) else volume


def _of_modality(
    found: list[Series], modality: Modality, rule: SubjectRule, *, is_new: bool
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
            chosen.append(dicom_volume(series, modality, rule))
        elif asked and asked.modality == modality and series.error:
            chosen.append(dicom_volume(asked, modality, rule, series.error.code))
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


def _nothing(given: Path, modality: Modality, left: Counter[str]) -> UsageError:
    kinds = Counter(
        "link" if entry.is_symlink() else "folder" if entry.is_dir() else "file"
        for entry in (given.iterdir() if given.is_dir() else ())
    )
    entries = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in kinds.items())
    found = ", ".join([entries, *(f"{n} x {why}" for why, n in left.items())]).strip(", ")
    return UsageError(
        f"No {modality.upper()} volume: {given} contains no {SUFFIXES_TEXT} file and no DICOM "
        f"series of this modality, at any depth ({found or 'its matches are other files'}). Give "
        "the folder that contains the volumes, a pattern such as 'imagesTr/*_0000.nii.gz', or "
        "list them with --manifest."
    )
