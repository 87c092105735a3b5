"""One retry for whatever fails for a moment: network file systems, object stores."""

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# The pauses grow fourfold: a hiccup costs a second, and a server that restarts is not kept busy.
READ_DELAYS_S = (0.5, 2.0, 8.0)
"""For an input file. Ten seconds outlast a moved NFS mount; a file that stays away for longer is
left out, and the next run of the same command takes it."""
TRANSFER_DELAYS_S = (1.0, 4.0, 16.0)
"""For a whole file to or from an object store. Longer, because a run ends with a transfer that
fails, and because the store's client has made several tries of its own each time."""

STORAGE_FAULT = "storage-fault"
"""The code of an error about a volume that another try may mend."""
_PASSING = {
    errno.EAGAIN,
    errno.EBUSY,  # an object store's "slow down"
    errno.EIO,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EREMOTEIO,  # an object store's internal error
    errno.ESTALE,
    errno.ETIMEDOUT,
}


def may_pass(error: Exception) -> bool:
    """Return whether storage may answer otherwise a moment later.

    What is not there, is not allowed or does not fit stays so: no other error is worth a pause.
    """
    if isinstance(error, OSError):
        return error.errno in _PASSING or isinstance(error, ConnectionError | TimeoutError)
    # An OSError that a volume's own process told with its code.
    return getattr(error, "code", None) == STORAGE_FAULT


def retry(action: Callable[[], T], *, delays_s: Sequence[float]) -> T:
    """Return what `action` returns, called again after each delay while its error may pass.

    Raises:
        Exception: What the last call raised.
    """
    for delay_s in delays_s:
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
        time.sleep(delay_s)
    return action()
