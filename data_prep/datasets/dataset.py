"""What every layout of a data set comes down to: volumes with their subject, pair and mask.

`folders`, `bids`, `synthrad` and `manifest` each read one layout into this. No volume is opened;
real names stay in memory here, in the quarantine file and in the id map.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.datasets.split import Split
from data_prep.dicom.series import Series
from data_prep.readers.formats import DETACHED_SUFFIXES, VOLUME_SUFFIXES
from mrct.errors import UsageError
from mrct.imaging.volume import Modality

SUFFIXES_TEXT = ", ".join(suffix for suffix in VOLUME_SUFFIXES if suffix not in DETACHED_SUFFIXES)
"""Files that are a volume each; DICOM is told by its content."""
_LITTER = "__MACOSX"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One volume under the names that its owner gave it."""

    path: Path = field(repr=False)
    """Its file, or the folder of its DICOM series' first file."""
    modality: Modality
    name: str = field(repr=False)
    """What the volume's keyed pseudonym is made from: the same on every run."""
    subject: str = field(repr=False)
    """What the subject's keyed pseudonym is made from."""
    label: str = field(repr=False)
    """How people call the subject: what a split file and the id map say."""
    split: Split | None = None
    pair: str | None = field(default=None, repr=False)
    """Equal for an aligned MRI and CT of one subject."""
    mask: Path | None = field(default=None, repr=False)
    """A body mask that came with the volume."""
    series: Series | None = field(default=None, repr=False)
    """The series where it is DICOM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that a layout holds."""

    volumes: list[Found]
    skipped: Counter[str] = field(default_factory=Counter)
    """What was left alone, by reason."""
    remarks: list[str] = field(default_factory=list)
    """What the user should know about how names were understood; without names."""


def volume_files(folder: Path, skipped: Counter[str]) -> list[Path]:
    """The volume files at any depth below a folder, in the order of their paths.

    Hidden files and folders and macOS's litter are nobody's. Links that lead out of the folder
    are not followed; they and folders that cannot be read are counted in `skipped`.
    """
    root = folder.resolve()
    found = []

    def closed(error: OSError) -> None:
        skipped[f"folder that cannot be opened ({error.strerror})"] += 1

    for parent, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        for name in sorted(names):
            if _is_litter(name) or not name.lower().endswith(VOLUME_SUFFIXES):
                continue
            path = Path(parent, name)
            if path.resolve().is_relative_to(root):
                found.append(path)
            else:
                skipped["link that leads out of the folder"] += 1
    return found


def check_folder(folder: Path, flag: str) -> None:
    """Raise UsageError, with what is there instead, where `flag` names no folder with something."""
    if folder.is_dir():
        if any(folder.iterdir()):
            return
        found = "it is empty"
    else:
        found = "it is a file" if folder.exists() else "there is no such folder"
    raise UsageError(
        f"No volume can come from {flag} {folder}: {found}. Name the folder that holds the "
        f"volumes ({SUFFIXES_TEXT} files or DICOM), or list files with --manifest."
    )


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name == _LITTER
