"""Errors caused by input or usage, as opposed to programming errors.

A message states what is wrong, what was found, why it matters, and how to fix it.
"""

import errno
import traceback
from enum import IntEnum
from pathlib import Path

STORAGE_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No space, no quota, or a disk that the system remounted read-only after an error."""

REFUSED_ERRNOS = (
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.ESTALE,
)
"""What the system says of a path that cannot be used, whatever the program does."""


class ExitCode(IntEnum):
    """Exit codes of all commands."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    PARTLY_DONE = 3
    STORAGE_FULL = 4
    PREEMPTED = 5


class UserError(ValueError):
    """Base of all errors whose message is meant for users and shown without a traceback."""

    exit_code = ExitCode.FAILED


class UsageError(UserError):
    """The command was called in a way that cannot work."""

    exit_code = ExitCode.WRONG_USE


class VolumeError(UserError):
    """One volume cannot be used. It is quarantined, and the others are processed."""

    def __init__(self, code: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.code = code
        """Short constant for tables and filters, such as `gzip-damaged`."""
        self.reason = reason
        """What was found, and why it matters."""
        self.remedy = remedy
        """What to do about it."""

    def __reduce__(self) -> tuple[type["VolumeError"], tuple[str, str, str]]:
        """Pickle the error with its parts, which Exception's own method would lose."""
        return type(self), (self.code, self.reason, self.remedy)


def as_volume_error(error: BaseException) -> VolumeError:
    """Convert any error of one volume to a VolumeError."""
    if isinstance(error, VolumeError):
        return error
    if isinstance(error, MemoryError):
        return VolumeError(
            "memory",
            "It needs more memory than a volume of the size in its header, or than is left here.",
            "Check the file; if the volume is sound, convert it where more memory is free.",
        )
    # The original message may contain a path, and this one is printed.
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    location = "".join(f" at {Path(f.filename).name}:{f.lineno}" for f in frame)
    return VolumeError(
        "crashed",
        f"Reading failed with {type(error).__name__}{location}.",
        "Try this file alone; if it fails again, report it.",
    )


class StoreError(UserError):
    """A Zarr store is damaged, or not the one requested."""


class NoStoreError(StoreError):
    """There is no store at the given path."""

    exit_code = ExitCode.WRONG_USE


class OtherStoreError(StoreError):
    """The existing store has another preprocessing or key than requested."""

    exit_code = ExitCode.WRONG_USE


class UnreachableError(StoreError):
    """Storage cannot be reached now: that is no damage, and a later try may succeed."""


OUTAGES = (UnreachableError, NoStoreError)
"""Errors of a store that has been open before, and may come back: a disk or a network folder that
is not mounted leaves nothing at its path."""


class StorageFullError(UserError):
    """The data to be written does not fit."""

    exit_code = ExitCode.STORAGE_FULL
