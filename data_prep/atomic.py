"""Files that are either there whole or not at all. It knows nothing of what they hold."""

import os
import secrets
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
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
