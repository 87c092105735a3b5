"""The path type for stores, runs and models, in a local folder or on an object store.

This module imports only the standard library at first.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mrct.errors import UsageError
from mrct.storage.local_path import LocalPath
from mrct.storage.object_path import ObjectPath


@runtime_checkable
class StoragePath(Protocol):
    """A file or folder in any storage, implemented by `LocalPath` and `ObjectPath`.

    Unreachable storage raises OSError, like a failing disk.
    """

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def parent(self) -> "StoragePath":
        """The containing folder."""

    @property
    def local(self) -> LocalPath | None:
        """The local path for system calls; None on an object store."""

    @property
    def damage(self) -> type[OSError]:
        """The error that reading raises if a file is lost or damaged. On an object store any other
        error is an outage, which does not concern the file."""

    def __truediv__(self, name: str, /) -> "StoragePath":
        """Return the path of an entry."""

    def with_name(self, name: str) -> "StoragePath":
        """Return the path of another entry of the same folder."""

    def absolute(self) -> "StoragePath":
        """Return the absolute path, for processes with another working folder."""

    def beside(self, suffix: str = "") -> Path:
        """Return a local path with a suffix appended: next to it, or in the working folder."""

    def contains(self, file: Path) -> bool:
        """Return whether a local file lies inside."""

    def exists(self) -> bool:
        """Return whether the file or folder exists."""

    def bytes_free(self) -> int | None:
        """Return the free bytes of the file system; None if there is no limit."""

    def modified(self) -> datetime:
        """Return when the file was last written, by the clock of the storage."""

    def names(self) -> list[str]:
        """Return the entries of a folder, sorted; empty if it does not exist."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file at any depth, by its name relative to the folder."""

    def read_bytes(self) -> bytes:
        """Read a file. Raises FileNotFoundError."""

    def read_text(self) -> str:
        """Read a file as text. Raises FileNotFoundError."""

    def read_files(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read files of a folder, concurrently if that is faster. Raises FileNotFoundError."""

    def ranges(self) -> Callable[[int, int], bytes]:
        """Return a function that reads the bytes from start to stop of a file, and no others."""

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of a file."""

    def kvstore(self) -> dict[str, Any]:
        """Return its tensorstore specification. Raises UsageError if there is none."""

    def arrow(self) -> tuple[str, Any]:
        """Return the path and the file system for pyarrow; None for the local one."""

    def reached(self) -> AbstractContextManager[None]:
        """Explain why a URL cannot be used (StoreError); for the first access of a command."""

    def put(self, content: bytes) -> None:
        """Write or replace a file atomically."""

    def put_new(self, content: bytes) -> None:
        """Write a file that must not exist yet. Raises FileExistsError."""

    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Write the files of a new folder, named relative to it.

        A local folder appears atomically. Objects appear one by one: a reader must wait for the
        one that is written last.
        """

    def append(self, line: str, name: str) -> None:
        """Append a line to a file that several processes share; `name` is unique to the caller."""

    def make_folder(self, *, exist_ok: bool = True) -> None:
        """Create the folder, if the storage has folders."""

    def remove(self) -> None:
        """Remove a file or folder, if it exists."""

    def fetched(self) -> AbstractContextManager[LocalPath]:
        """Yield the folder and its files as a local folder, during the block."""

    def staging(self) -> AbstractContextManager[Path]:
        """Yield a local folder in which to write the files of this one, during the block."""

    def settle(self, file: Path) -> None:
        """Store a file written in `staging` permanently in this folder."""

    def publish(self, name: str, names: Sequence[str], last: str, content: bytes) -> None:
        """Give the folder, with the files `names`, its final name, replacing an earlier one. The
        file `last` is written last and marks the folder as complete."""

    def published(self, last: str) -> "Sequence[StoragePath]":
        """Return the published folders in this one, sorted by name; locally also those whose file
        `last` was lost."""

    def withdraw(self, last: str) -> None:
        """Delete a published folder; if the process is killed, none remains that seems complete."""


def storage_path(text: "str | Path | StoragePath") -> StoragePath:
    """Return an `ObjectPath` where `text` is a URL, else a `LocalPath`, absolute.

    Credentials and endpoints are taken from the environment, as by the protocol's own tools.
    Raises UsageError for a protocol that is unknown or whose package is not installed.
    """
    text = str(text)
    if "://" not in text or text.startswith(("file://", "local://")):
        return LocalPath(text.rpartition("://")[2]).expanduser().absolute()
    path = ObjectPath(text.rstrip("/"))
    try:
        _ = path.fs
    except (ImportError, ValueError) as error:
        protocol = text.split("://")[0]
        raise UsageError(
            f"URLs with {protocol}:// cannot be used here ({error}). Install the package that "
            "fsspec needs for them; for s3: pip install 'cyclegan-mri-ct[s3]'."
        ) from error
    return path
