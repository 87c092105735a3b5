"""Files and folders that are either there whole or not at all, whatever they hold."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

PARTIAL = ".partial-"
"""What every unfinished file's or folder's name starts with, so that litter can be told."""


def partial_path(path: Path) -> Path:
    """A fresh name beside `path` for its unfinished self."""
    return path.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{path.name}")


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file by a synced temporary one and a rename; a reader never sees half of it."""
    partial = partial_path(path)
    try:
        _write_synced(partial, content, mode)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder with its files in the same way; `files` are named relative to it.

    Raises OSError (ENOSPC) before the first byte where they would not fit.
    """
    if shutil.disk_usage(folder.parent).free < sum(map(len, files.values())):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))
    partial = partial_path(folder)
    try:
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            _write_synced(partial / name, content)
        for inner in {(partial / name).parent for name in files} | {partial}:
            sync_folder(inner)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to fill, shown as `folder` when the body of the `with` is through.

    What `folder` was before is replaced then, and stays where the body raises or the process dies.
    Files must lie in it or one folder down.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(folder)
    partial.mkdir()
    try:
        yield partial
        inner = [path for path in partial.iterdir() if path.is_dir()]
        for place in [*inner, partial]:
            for path in place.iterdir():
                with path.open("rb") if path.is_file() else nullcontext() as file:
                    if file:
                        os.fsync(file.fileno())
            sync_folder(place)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(partial: Path, folder: Path) -> None:
    """Give a finished folder its name, to stay; what had the name before is deleted."""
    old = partial_path(folder)
    if folder.exists():
        folder.rename(old)  # a folder can only be renamed over an empty one
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder; a kill in between leaves no half of it under its name."""
    doomed = partial_path(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _write_synced(path: Path, content: bytes, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
