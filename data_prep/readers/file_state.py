"""What storage does to files that are read: fails for a moment, changes them, hides them.

It knows nothing of what the files hold. Messages name no path.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mrct.errors import VolumeError
from mrct.storage.retry import READ_DELAYS_S, STORAGE_FAULT, may_pass, retry

T = TypeVar("T")
Stamp = tuple[int, int, int]
"""A file's inode, size in bytes and time of the last change in ns: another one, another file."""


def read_with_retry(read: Callable[[], T]) -> T:
    """Return what reading a file returns, tried again where its storage failed for a moment.

    Its OSError becomes a VolumeError.
    """
    try:
        return retry(read, delays_s=READ_DELAYS_S)
    except OSError as error:
        raise unreadable(error) from None


def stamp_of(path: Path) -> Stamp:
    """The state of a file; raises VolumeError where it is none, and OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise VolumeError(
            "unreadable",
            "It is no regular file, but a pipe, a device or a folder.",
            "Give the file itself, or move it out of the folder.",
        )
    return found.st_ino, found.st_size, found.st_mtime_ns


def unreadable(error: OSError) -> VolumeError:
    """Why a file could not be read."""
    found = error.strerror or type(error).__name__
    if may_pass(error):
        return VolumeError(
            STORAGE_FAULT,
            f"The storage failed while the file was read ({found}).",
            "Nothing is known against the file: run the same command again.",
        )
    return VolumeError(
        "unreadable",
        f"The file cannot be read ({found}).",
        "Check that it exists and its permissions, then run the same command again.",
    )


def file_changed() -> VolumeError:
    """What was read is not what was found, or half of it is."""
    return VolumeError(
        "file-changed",
        "The file changed between being found and being read: it could be half old, half new.",
        "Wait until whatever writes it has ended, then run the same command again.",
    )
