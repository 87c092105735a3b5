"""One writer at a time, on a file system with locks. It does not know what is written."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import UserError


@contextmanager
def exclusive(path: Path, otherwise: UserError) -> Iterator[None]:
    """Hold a lock file, or raise `otherwise` at once where another process holds it.

    The system drops the lock with the process that holds it, however that ends.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise otherwise from error
        yield
