"""Reads and writes manifests: CSV files that list the volumes of a data set.

Of a DICOM folder only the headers are read, to find the series that a row refers to.
"""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_prep.datasets.dataset import SUFFIXES_TEXT, FoundVolume, FoundVolumes
from data_prep.datasets.nifti_facts import file_facts
from data_prep.datasets.split import SPLITS, Split
from data_prep.dicom.series import Series, find_series
from data_prep.readers.formats import VOLUME_SUFFIXES
from mrct.errors import UsageError
from mrct.imaging.modality import MODALITIES, Modality
from mrct.storage.atomic import write_atomic

MANIFEST_COLUMNS = ("path", "modality", "subject", "split", "pair")
REQUIRED = MANIFEST_COLUMNS[:3]
MASK = "mask"


class ManifestError(UsageError):
    """An invalid manifest. The message gives the line number and never its contents, because a
    shifted column could contain a patient's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a manifest: a volume."""

    path: Path
    """The volume file, a DICOM file, or the folder of a DICOM series. In the CSV it is relative to
    the manifest's folder (or absolute)."""
    modality: Modality
    subject: str
    """Subject of the volume; volumes of one subject share a split."""
    split: Split | None = None
    """None leaves the choice to `convert`."""
    pair: str | None = None
    """Rows with the same value are an MRI and a CT of one subject in one world frame."""
    mask: Path | None = None
    """A body mask in the same frame, as a volume file; values above 0 are body."""


def find_in_manifest(path: Path) -> FoundVolumes:
    """Return the volumes of a manifest, one per row.

    Raises ManifestError also if a row's DICOM folder does not contain exactly one series of its
    modality.
    """
    volumes: list[FoundVolume] = []
    files: set[Path] = set()
    for number, row in _numbered_rows(path):
        found = _found(path, number, row)
        own = found.series.paths if found.series else ()
        if not files.isdisjoint(own):
            raise _error(path, number, "An earlier line lists its series", "Delete one of the two.")
        files.update(own)
        volumes.append(found)
    return FoundVolumes(volumes=volumes)


def read_manifest(path: Path) -> list[Row]:
    """Return the rows of a manifest, with paths joined to its folder.

    The columns `path`, `modality` and `subject` are required; `split`, `pair` and `mask` may be
    absent or empty; others are ignored. Raises ManifestError, with the line number, for a missing
    file or column, an unknown modality or split, a volume listed twice, a pair that is not one MRI
    and one CT of one subject, and a subject in two splits.
    """
    return [row for _, row in _numbered_rows(path)]


def _numbered_rows(path: Path) -> list[tuple[int, Row]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"The manifest cannot be read: {getattr(error, 'strerror', 'it is not UTF-8 text')} "
            f"({path}). Without it there is nothing to convert. "
            f"Give a CSV file with the columns {','.join(MANIFEST_COLUMNS)}."
        ) from error
    lines = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    missing = set(REQUIRED) - set(lines.fieldnames or ())
    if missing:
        raise ManifestError(
            f"The manifest {path} has no column {', '.join(sorted(missing))}: its first line must "
            f"name the columns. Begin it with {','.join(MANIFEST_COLUMNS)}."
        )
    numbered = [(lines.line_num, _row(path, lines.line_num, line)) for line in lines]
    if not numbered:
        raise ManifestError(
            f"The manifest {path} lists no volume: it ends after its first line. "
            "Add one line per volume."
        )
    _check_together(path, numbered)
    return numbered


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest, atomically, with paths relative to its folder; `mask` only where needed."""
    rows = list(rows)
    has_masks = any(row.mask for row in rows)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*MANIFEST_COLUMNS, MASK) if has_masks else MANIFEST_COLUMNS)
    for row in rows:
        place = os.path.relpath(row.path, path.parent)
        cells = [place, row.modality, row.subject, row.split or "", row.pair or ""]
        if has_masks:
            cells.append(os.path.relpath(row.mask, path.parent) if row.mask else "")
        table.writerow(cells)
    write_atomic(path, text.getvalue().encode())


def _row(manifest: Path, number: int, line: dict[str, str | None]) -> Row:
    cells = {name: (line.get(name) or "").strip() for name in (*MANIFEST_COLUMNS, MASK)}
    for name in REQUIRED:
        if not cells[name]:
            raise _error(
                manifest, number, f"The {name} is empty", "Fill it in, or delete the line."
            )
    modality = next((m for m in MODALITIES if m == cells["modality"].lower()), None)
    if modality is None:
        raise _error(
            manifest, number, "The modality is unknown", f"Write one of {', '.join(MODALITIES)}."
        )
    split = next((s for s in SPLITS if s == cells["split"].lower()), None)
    if cells["split"] and split is None:
        raise _error(
            manifest,
            number,
            "The split is unknown",
            f"Write one of {', '.join(SPLITS)}, or leave it empty to have one assigned.",
        )
    place = manifest.parent / cells["path"]
    mask = manifest.parent / cells[MASK] if cells[MASK] else None
    for what, wanted in (("file or folder at its path", place), ("file at its mask", mask)):
        if wanted and not wanted.exists():
            raise _error(
                manifest,
                number,
                f"There is no {what}",
                "Paths are relative to the manifest's folder: correct the line, or delete it.",
            )
    return Row(
        path=place,
        modality=modality,
        subject=cells["subject"],
        split=split,
        pair=cells["pair"] or None,
        mask=mask,
    )


def _found(manifest: Path, number: int, row: Row) -> FoundVolume:
    is_file = row.path.is_file() and row.path.name.lower().endswith(VOLUME_SUFFIXES)
    series = None if is_file else _series(manifest, number, row)
    return FoundVolume(
        path=row.path,
        modality=row.modality,
        name=os.path.relpath(row.path, manifest.parent),
        subject=row.subject,
        label=row.subject,
        split=row.split,
        pair=row.pair,
        mask=row.mask,
        series=series,
        kind=series.kind if series else file_facts(row.path, row.modality)[0],
    )


def _series(manifest: Path, number: int, row: Row) -> Series:
    """Return the DICOM series of the row's modality in a folder, or the one of a given file."""
    folder = row.path if row.path.is_dir() else row.path.parent
    found = find_series(folder)
    if not row.path.is_dir():
        found = [series for series in found if row.path in series.paths]
    meant = [series for series in found if series.modality == row.modality]
    # Naming a map or a phase image here is asking for it.
    asked = [series.if_asked for series in found if series.if_asked]
    meant = meant or [series for series in asked if series.modality == row.modality]
    # A folder of damaged files only is accepted here, so that they are refused by name later.
    meant = meant or [series for series in found if not series.headers]
    if len(meant) != 1:
        raise _error(
            manifest,
            number,
            f"Its path has {len(meant)} DICOM series of its modality, and is no volume file",
            "Give a folder with one series, a file of the series, or a volume file "
            f"({SUFFIXES_TEXT}).",
        )
    return meant[0]


def _check_together(manifest: Path, numbered: list[tuple[int, Row]]) -> None:
    """Raise ManifestError for rows that contradict one another."""
    places: set[tuple[Path, Modality | None]] = set()
    splits: dict[str, Split] = {}
    pairs: dict[str, list[Row]] = {}
    for number, row in numbered:
        place = (row.path, row.modality if row.path.is_dir() else None)
        if place in places:  # a DICOM folder may hold a series of each modality
            raise _error(
                manifest, number, "An earlier line lists its volume", "Delete one of the two."
            )
        places.add(place)
        if row.split and splits.setdefault(row.subject, row.split) != row.split:
            raise _error(
                manifest,
                number,
                "An earlier line has its subject in another split, and scores on a subject that "
                "was trained on mean nothing",
                "Give all lines of a subject the same split.",
            )
        if row.pair:
            partners = pairs.setdefault(row.pair, [])
            partners.append(row)
            if any(_clash(a, row) for a in partners[:-1]):
                raise _error(
                    manifest,
                    number,
                    "Its pair is more than one MRI and one CT of one subject",
                    "Give every pair its own value.",
                )
    for number, row in numbered:
        if row.pair and len(pairs[row.pair]) == 1:
            raise _error(
                manifest,
                number,
                "Its pair has no second volume",
                "Add the line of the other modality, or leave `pair` empty.",
            )


def _clash(a: Row, b: Row) -> bool:
    return a.modality == b.modality or a.subject != b.subject


def _error(manifest: Path, number: int, found: str, remedy: str) -> ManifestError:
    return ManifestError(f"Line {number} of the manifest {manifest}: {found}. {remedy}")
