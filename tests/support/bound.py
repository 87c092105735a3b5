"""A folder where this process may write nothing, though it may be root's."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrct.storage.local_path import LocalPath

NOBODY = 65534


@contextmanager
def bound_folder() -> Iterator[LocalPath]:
    """A folder with a file and a folder, while permissions bind this process."""
    folder = Path(tempfile.mkdtemp())
    (folder / "file").touch()
    (folder / "run").mkdir(mode=0o555)
    folder.chmod(0o555)
    if is_root := os.getuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield LocalPath(folder)
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)
