"""What there is to convert: files in folders or a manifest become jobs with pseudonyms and splits.

It opens no volume. Real names stay in memory here and in the quarantine file.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.errors import UsageError
from data_prep.manifest import read_manifest
from data_prep.nifti import SUFFIXES
from data_prep.pseudonym import Key
from data_prep.series import Series, find_series
from data_prep.source import Source
from data_prep.split import Fractions, Split, assign_splits
from data_prep.volume import Modality


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What one task converts: a volume, or the MRI and the CT of a pair."""

    sources: tuple[Source, ...]
    """Of a pair the MRI first: it sets the grid."""
    split: Split


def sources_in_folder(
    folder: Path, modality: Modality, key: Key, *, paired: bool
) -> tuple[list[Source], Counter[str]]:
    """The NIfTI files directly in a folder and the DICOM series at any depth below it.

    Each NIfTI file is a subject of its own; with `paired`, equal file names in the MRI and the CT
    folder are an aligned pair of one subject. DICOM says whose a series is. Also counts, by reason,
    the DICOM objects that are no volume of this modality: localisers, reports, the other modality.

    Raises:
        UsageError: There is no volume.
    """
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    paths = [
        path
        for path in files
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")
    ]
    series, skipped = _series_below(folder, modality) if files else ([], Counter[str]())
    if not paths and not series:
        found = f"it has {len(files)} other entries" if files else "it is empty or absent"
        found += "".join(f", {n} x {reason}" for reason, n in skipped.items())
        raise UsageError(
            f"No {modality.upper()} volume: {folder} holds no .nii or .nii.gz file and no DICOM "
            f"series of this modality ({found}). Name the folder that holds the files, or list "
            "NIfTI files with --manifest."
        )
    stems = [path.name[: path.name.lower().rindex(".nii")] for path in paths]
    if paired and len(set(stems)) < len(stems):
        raise UsageError(
            f"{folder} holds two files for one subject (NAME.nii and NAME.nii.gz), and --paired "
            "cannot tell which one belongs to the pair. Remove one, or list pairs with --manifest."
        )
    of_nifti = [
        Source(
            path=path,
            modality=modality,
            pseudonym=key.pseudonym(modality, path.name),
            subject=key.pseudonym("subject", stem if paired else f"{modality} {stem}"),
            split=None,
            pair=stem if paired else None,
        )
        for path, stem in zip(paths, stems, strict=True)
    ]
    of_dicom = [
        Source(
            path=each.paths[0].parent,
            modality=modality,
            pseudonym=key.pseudonym(modality, each.name),
            subject=key.pseudonym("subject", each.identity or each.name),
            split=None,
            pair=None,
            series=each,
        )
        for each in series
    ]
    return of_nifti + of_dicom, skipped


def _series_below(folder: Path, modality: Modality) -> tuple[list[Series], Counter[str]]:
    """The series to convert, and why others are left alone.

    Damaged files are chosen too, to be refused by name; but only where there is DICOM at all: an
    empty file beside NIfTI files is nobody's.
    """
    found = find_series(folder)
    has_dicom = any(series.headers for series in found)
    chosen: list[Series] = []
    skipped: Counter[str] = Counter()
    for series in found:
        if series.modality == modality or (has_dicom and not series.headers):
            chosen.append(series)
        else:
            skipped[series.error.code if series.error else "other-modality"] += 1
    return chosen, skipped


def sources_in_manifest(manifest: Path, key: Key) -> list[Source]:
    """The volumes that a manifest names; see `data_prep.manifest` for its columns."""
    return [
        Source(
            path=row.path,
            modality=row.modality,
            pseudonym=key.pseudonym(row.modality, os.path.relpath(row.path, manifest.parent)),
            subject=key.pseudonym("subject", row.subject),
            split=row.split,
            pair=row.pair,
        )
        for row in read_manifest(manifest)
    ]


def plan_jobs(
    sources: Iterable[Source], frozen: Mapping[str, Split], fractions: Fractions
) -> list[Job]:
    """Number the sources, join pairs, and give each subject its split.

    `frozen` holds the splits of subjects that the store has already. Raises UsageError where a
    manifest wants another one now.
    """
    numbered = [replace(source, number=i) for i, source in enumerate(sources, start=1)]
    wanted = {source.subject: source.split for source in numbered if source.split}
    for subject, split in wanted.items():
        if frozen.get(subject, split) != split:
            raise UsageError(
                f"The manifest puts subject {subject} into {split}, the store has it in "
                f"{frozen[subject]}. A model may have trained on it, and scores on it would then "
                "mean nothing. Restore the manifest's split, or convert into a new --out."
            )
    modalities = defaultdict(set)
    for source in numbered:
        modalities[source.subject].add(source.modality)
    kinds = {subject: "+".join(sorted(has)) for subject, has in modalities.items()}
    splits = assign_splits(kinds, fixed={**frozen, **wanted}, fractions=fractions)
    groups = defaultdict(list)
    for source in sorted(numbered, key=lambda source: source.modality == "ct"):
        groups[source.pair or source.number].append(source)
    return [Job(sources=tuple(g), split=splits[g[0].subject]) for g in groups.values()]
