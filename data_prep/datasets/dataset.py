"""The common result of all data set layouts: volumes with their subject, pair and mask.

`folders`, `bids`, `synthrad` and `manifest` each read one layout into it. Original names are kept
only in memory, in the quarantine file and in the id map.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.datasets.split import Split
from data_prep.datasets.unread_files import is_litter
from data_prep.dicom.image_facts import ImageFacts
from data_prep.dicom.image_kind import ImageKind
from data_prep.dicom.series import Series
from data_prep.readers.formats import DETACHED_SUFFIXES, VOLUME_SUFFIXES
from mrct.errors import UsageError
from mrct.imaging.modality import Modality

SUFFIXES_TEXT = ", ".join(suffix for suffix in VOLUME_SUFFIXES if suffix not in DETACHED_SUFFIXES)
"""Suffixes of files that contain one volume each; DICOM is recognised by its content."""

LINK_OUT = "Link that leads out of the folder, not followed: give the folder that it leads to"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundVolume:
    """One volume under its original names."""

    path: Path = field(repr=False)
    """The file, or the folder of the first file of the DICOM series."""
    modality: Modality
    name: str = field(repr=False)
    """Identity from which the volume's pseudonym is computed: the same on every run."""
    subject: str = field(repr=False)
    """Identity from which the subject's pseudonym is computed."""
    label: str = field(repr=False)
    """Name of the subject in the data set, as used by a split file and the id map."""
    split: Split | None = None
    pair: str | None = field(default=None, repr=False)
    """Equal for an aligned MRI and CT of one subject."""
    mask: Path | None = field(default=None, repr=False)
    """A body mask provided with the volume."""
    series: Series | None = field(default=None, repr=False)
    """The series, for DICOM."""
    kind: ImageKind = "unknown"
    facts: ImageFacts = field(default_factory=ImageFacts)
    """How it was made, as its header or sidecar says."""
    left_out: str = ""
    """Why it is left out unless its kind is asked for by name; empty for anatomy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KindCount:
    """A row of the table of kinds: volumes of one kind in one modality."""

    modality: Modality
    kind: str
    left_out: str
    """Why they are left out unless asked for; empty for anatomy."""
    num_volumes: int
    num_subjects: int
    num_met: int
    """Of the volumes, those that meet the filter."""
    example: str
    """Grid and timing of the first; no name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundVolumes:
    """The contents of a layout."""

    volumes: list[FoundVolume]
    skipped: Counter[str] = field(default_factory=Counter)
    """Counts of skipped files and series, by reason."""
    remarks: list[str] = field(default_factory=list)
    """Remarks for the user on how names were interpreted; they contain no names."""
    kinds: list[KindCount] = field(default_factory=list)
    """The table of kinds, over all volumes that were found."""


def volume_files(folder: Path, skipped: Counter[str]) -> list[Path]:
    """Return the volume files at any depth below a folder, sorted by path.

    Hidden files and folders and the metadata folders of macOS are ignored. Links that lead out of
    the folder are not followed; they and unreadable folders are counted in `skipped`.
    """
    root = folder.resolve()
    found = []

    def closed(error: OSError) -> None:
        skipped[f"Folder that cannot be opened ({error.strerror})"] += 1

    for parent, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        for name in sorted(names):
            if is_litter(name) or not name.lower().endswith(VOLUME_SUFFIXES):
                continue
            path = Path(parent, name)
            if lies_inside(path, root, skipped):
                found.append(path)
    return found


def lies_inside(path: Path, root: Path, skipped: Counter[str]) -> bool:
    """Return whether a file lies below a folder, `root` without links, and count it if a link on
    the way leads out: the user named the folder, not what a link in it leads to."""
    inside = path.resolve().is_relative_to(root)
    if not inside:
        skipped[LINK_OUT] += 1
    return inside


def check_folder(folder: Path, flag: str) -> None:
    """Raise UsageError if `flag` does not name a folder with contents."""
    if folder.is_dir():
        if any(folder.iterdir()):
            return
        found = "it is empty"
    else:
        found = "it is a file" if folder.exists() else "there is no such folder"
    raise UsageError(
        f"No volume can be read from {flag} {folder}: {found}. Give the folder that contains the "
        f"volumes ({SUFFIXES_TEXT} files or DICOM), or list files with --manifest."
    )
