"""Whole files between a local disk and an object store, and within one; a transfer that fails is
tried again before the work behind it is given up.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyarrow.fs import FSSpecHandler, PyFileSystem
from upath import UPath

from data_prep.place import Place, outages_as_os_errors

PAUSES_S = (1.0, 4.0, 16.0)
"""Between the tries of a transfer; its client has made several tries of its own each time."""


def put_file(source: Path, target: UPath) -> None:
    """Upload a file."""
    persistently(lambda: target.fs.put_file(str(source), target.path))


def fetch(folder: UPath, into: Path) -> None:
    """Download all files of a folder, at any depth."""
    into.mkdir(parents=True, exist_ok=True)
    persistently(lambda: folder.fs.get(f"{folder.path}/", f"{into}/", recursive=True))


def copy_files(source: Place, target: Place, names: Sequence[str]) -> None:
    """Copy files of one folder to another on the same object store, which does it by itself."""
    assert isinstance(source, UPath)
    assert isinstance(target, UPath)
    filesystem = source.fs
    pairs = [[f"{folder}/{name}" for name in names] for folder in (source.path, target.path)]
    persistently(lambda: filesystem.copy(*pairs))


def arrow_filesystem(folder: UPath) -> PyFileSystem:
    """A URL's file system for libraries that want pyarrow's, with the same way to reach it."""
    return PyFileSystem(FSSpecHandler(folder.fs))


def persistently(transfer: Callable[[], object]) -> None:
    """Do it, and where it fails for a reason that may pass, again.

    Raises:
        OSError: What the last try failed of.
    """
    transfer = outages_as_os_errors()(transfer)
    for pause_s in PAUSES_S:
        try:
            transfer()
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            time.sleep(pause_s)
        else:
            return
    transfer()
