"""Writes files and folders atomically: they are either complete or absent."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

PARTIAL = ".partial-"
"""Prefix of unfinished files and folders, by which leftovers are recognised."""


def partial_path(path: Path) -> Path:
    """Return a new path beside `path` for its unfinished version."""
    return path.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{path.name}")


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file by a synced temporary file and a rename; a reader never sees a partial file."""
    partial = partial_path(path)
    try:
        _write_synced(partial, content, mode)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder atomically; the names of `files` are relative to it.

    Raises OSError (ENOSPC) before the first byte if they do not fit.
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
    """Yield a hidden folder to fill, which becomes `folder` when the block ends.

    An existing `folder` is replaced then; it stays if the block raises or the process dies. Files
    must lie in the folder or one level below.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(folder)
    partial.mkdir()
    try:
        yield partial
        inner = [path for path in partial.iterdir() if path.is_dir()]
        for each in [*inner, partial]:
            for path in each.iterdir():
                with path.open("rb") if path.is_file() else nullcontext() as file:
                    if file:
                        os.fsync(file.fileno())
            sync_folder(each)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(partial: Path, folder: Path) -> None:
    """Rename a finished folder to its final name, and delete the previous one."""
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
    """Delete a folder; if the process is killed, no partial folder remains under its name."""
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
