"""Detects changed, unreadable and temporarily unavailable input files; messages name no path."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mrct.errors import VolumeError
from mrct.storage.retry import READ_DELAYS_S, STORAGE_FAULT, is_transient, retry

T = TypeVar("T")
Stamp = tuple[int, int, int]
"""Inode, size in bytes and modification time in ns of a file; a changed file has another stamp."""


def read_with_retry(read: Callable[[], T]) -> T:
    """Call `read`, retry it after temporary storage failures, and return its result.

    An OSError becomes a VolumeError.
    """
    try:
        return retry(read, delays_s=READ_DELAYS_S)
    except OSError as error:
        raise unreadable(error) from None


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file; raises VolumeError if it is not a regular file, and OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise VolumeError(
            "unreadable",
            "It is not a regular file, but a pipe, a device or a folder.",
            "Give the file itself, or move it out of the folder.",
        )
    return found.st_ino, found.st_size, found.st_mtime_ns


def unreadable(error: OSError) -> VolumeError:
    """Return the error for a file that could not be read."""
    found = error.strerror or type(error).__name__
    if is_transient(error):
        return VolumeError(
            STORAGE_FAULT,
            f"The storage failed while the file was read ({found}).",
            "The file itself may be sound: run the same command again.",
        )
    return VolumeError(
        "unreadable",
        f"The file cannot be read ({found}).",
        "Check that it exists and is readable, then run the same command again.",
    )


def file_changed() -> VolumeError:
    """Return the error for a file that changed while it was being converted."""
    return VolumeError(
        "file-changed",
        "The file changed after it was found: it could be partly old and partly new.",
        "Wait until the process that writes it has ended, then run the same command again.",
    )
