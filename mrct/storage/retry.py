"""Retries operations on storage that fails temporarily: network file systems, object stores."""

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# Delays grow fourfold: a short failure costs a second, and a restarting server is not overloaded.
READ_DELAYS_S = (0.5, 2.0, 8.0)
"""Delays for an input file. Ten seconds outlast a moved NFS mount; a file that is unavailable for
longer is left out, and the next run of the same command converts it."""
TRANSFER_DELAYS_S = (1.0, 4.0, 16.0)
"""Delays for the transfer of a file to or from an object store. They are longer because a failed
transfer ends the run, and because the client retries several times itself."""

STORAGE_FAULT = "storage-fault"
"""Code of an error about a volume that may succeed when retried."""
TRANSIENT_ERRNOS = {
    errno.EAGAIN,
    errno.EBUSY,  # an object store's "slow down"
    errno.EIO,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EREMOTEIO,  # an object store's internal error
    errno.ESTALE,
    errno.ETIMEDOUT,
}


def is_transient(error: Exception) -> bool:
    """Return whether an error of the storage may be temporary.

    Missing files, missing permissions and full disks are permanent and not retried.
    """
    if isinstance(error, OSError):
        return error.errno in TRANSIENT_ERRNOS or isinstance(error, ConnectionError | TimeoutError)
    # A VolumeError from the child process that stands for such an OSError.
    return getattr(error, "code", None) == STORAGE_FAULT


def retry(action: Callable[[], T], *, delays_s: Sequence[float]) -> T:
    """Call `action`, again after each delay while its error may be temporary; return its result.

    Raises:
        Exception: The error of the last call.
    """
    for delay_s in delays_s:
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(delay_s)
    return action()
