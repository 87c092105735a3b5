"""What storage does to files that are read: fails for a moment, changes them, hides them.

It knows nothing of what the files hold. Messages name no path.
"""

import errno
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from data_prep.errors import VolumeError

T = TypeVar("T")
Stamp = tuple[int, int, int]
"""A file's inode, size in bytes and time of the last change in ns: another one, another file."""
STORAGE_FAULT = "storage-fault"
"""The code of a refusal that another try may mend."""
_PASSING = {errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY}
"""What network storage answers now and not a moment later."""
_PAUSES_S = (0.5, 2.0, 8.0)


def patiently(action: Callable[[], T]) -> T:
    """What `action` gives, tried again after a pause where the storage failed.

    Its OSError becomes a VolumeError.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return action()
        except OSError as error:
            fault = unreadable(error)
        except VolumeError as error:
            fault = error
        if fault.code != STORAGE_FAULT or pause_s is None:
            break
        time.sleep(pause_s)
    raise fault from None


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
    if error.errno in _PASSING:
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
