"""What goes wrong because of input or use, as opposed to our own mistakes.

A message says what is wrong, what was found, why it matters, and what to do about it.
"""

import errno
import traceback
from enum import IntEnum
from pathlib import Path

STORAGE_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No room, no quota, or a disk that the system made read-only after an error."""


class ExitCode(IntEnum):
    """What every command of this project answers to the shell."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    PARTLY_DONE = 3
    STORAGE_FULL = 4
    PREEMPTED = 5


class UserError(ValueError):
    """The base of all errors whose message is written for people; shown without a traceback."""

    exit_code = ExitCode.FAILED


class UsageError(UserError):
    """The command was called in a way that cannot work."""

    exit_code = ExitCode.WRONG_USE


class VolumeError(UserError):
    """One volume cannot be used. It is quarantined; the others go on."""

    def __init__(self, code: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.code = code
        """A short constant for tables and filters, such as `gzip-damaged`."""
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["VolumeError"], tuple[str, str, str]]:
        """Lets the error cross process borders whole; Exception's own way would lose the parts."""
        return type(self), (self.code, self.reason, self.remedy)


def as_volume_error(error: BaseException) -> VolumeError:
    """Whatever went wrong with one volume, as a reason to leave it out."""
    if isinstance(error, VolumeError):
        return error
    if isinstance(error, MemoryError):
        return VolumeError(
            "memory",
            "It needs more memory than a volume of the size that its header claims.",
            "Look at the file; if it is a good volume, convert it where more memory is free.",
        )
    # The message itself may hold a path, and this one is printed.
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(f.filename).name}:{f.lineno}" for f in frame)
    return VolumeError(
        "crashed",
        f"{type(error).__name__}{place}.",
        "Try this file alone; if it fails again, report it.",
    )


class StoreError(UserError):
    """A Zarr store is damaged or not what was asked for."""


class NoStoreError(StoreError):
    """There is no store where one was named."""

    exit_code = ExitCode.WRONG_USE


class OtherStoreError(StoreError):
    """The store that is there was made in another way than is asked for now."""

    exit_code = ExitCode.WRONG_USE


class StorageFullError(UserError):
    """What is to be written does not fit."""

    exit_code = ExitCode.STORAGE_FULL
