"""The one type of path for stores, runs and models: in a local folder or on an object store.

Importing it takes the standard library alone.
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
    """A file or folder, wherever it is; `LocalPath` and `ObjectPath` say how it is done there.

    A storage that cannot be reached raises OSError, as a disk does that fails.
    """

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def parent(self) -> "StoragePath":
        """The folder that it lies in."""

    @property
    def local(self) -> LocalPath | None:
        """The path for the system's own calls, which work on no object store: there None."""

    @property
    def damage(self) -> type[OSError]:
        """What reading raises where a file is lost or damaged. On an object store any other error
        is an outage, and says nothing about the file."""

    def __truediv__(self, name: str, /) -> "StoragePath":
        """Return the path of an entry."""

    def with_name(self, name: str) -> "StoragePath":
        """Return the path of another entry of the same folder."""

    def absolute(self) -> "StoragePath":
        """Return the path for processes with another working folder."""

    def beside(self, suffix: str = "") -> Path:
        """Return a local path of its name and a suffix: next to it, or in the working folder."""

    def contains(self, file: Path) -> bool:
        """Return whether a local file lies inside."""

    def exists(self) -> bool:
        """Return whether there is a file or folder."""

    def bytes_free(self) -> int | None:
        """Return what the file system has left; None where that has no meaning."""

    def modified(self) -> datetime:
        """Return when a file was last written, by the clock of the machine that keeps it."""

    def names(self) -> list[str]:
        """Return the entries of a folder, sorted; none where there is no folder."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file at any depth, by its name relative to the folder."""

    def read_bytes(self) -> bytes:
        """Read a file. Raises FileNotFoundError."""

    def read_text(self) -> str:
        """Read a file as text. Raises FileNotFoundError."""

    def read_files(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read files of a folder, at once where that is quicker. Raises FileNotFoundError."""

    def ranges(self) -> Callable[[int, int], bytes]:
        """Return a function from (start, stop) to those bytes of a file; no others are read."""

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of a file."""

    def kvstore(self) -> dict[str, Any]:
        """Return how tensorstore reaches it. Raises UsageError where it cannot."""

    def arrow(self) -> tuple[str, Any]:
        """Return the path and the file system, None for a local one, for what goes by pyarrow."""

    def reached(self) -> AbstractContextManager[None]:
        """Say for people why a URL cannot be used (StoreError); for a command's first access."""

    def put(self, content: bytes) -> None:
        """Write or replace a file, whole or not at all."""

    def put_new(self, content: bytes) -> None:
        """Write a file that must not be there yet. Raises FileExistsError."""

    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Write the files of a new folder, named relative to it.

        A local folder appears whole. Objects appear one by one: a reader must wait for what its
        writer puts last.
        """

    def append(self, line: str, name: str) -> None:
        """Add a line to a file that several processes share; `name` is one that no other has."""

    def make_folder(self, *, exist_ok: bool = True) -> None:
        """Make a folder, where folders are made."""

    def remove(self) -> None:
        """Remove a file or folder; no error where there is none."""

    def fetched(self) -> AbstractContextManager[LocalPath]:
        """Yield the folder with its files as a local one, for as long as the block runs."""

    def staging(self) -> AbstractContextManager[Path]:
        """Yield a local folder to write the files of this one in, for as long as the block runs."""

    def settle(self, file: Path) -> None:
        """Make sure that a file written in `staging` is in this folder, to stay."""

    def publish(self, name: str, names: Sequence[str], last: str, content: bytes) -> None:
        """Give the folder, with the files `names`, its final name, in the place of an earlier one.
        The file `last` is written last and says that the folder is whole."""

    def published(self, last: str) -> "Sequence[StoragePath]":
        """Return the folders in this one that were published, sorted by name; where a name shows
        that by itself, also those whose file `last` was lost."""

    def withdraw(self, last: str) -> None:
        """Delete a published folder, so that a kill in between leaves none that seems whole."""


def storage_path(text: "str | Path | StoragePath") -> StoragePath:
    """Return an `ObjectPath` where `text` is a URL, else a `LocalPath`, absolute.

    Credentials and endpoints come from the environment, as the protocol's own tools have them.
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
            f"No place can be reached by {protocol}:// here ({error}). Install what fsspec needs "
            "for it; for s3: pip install 'cyclegan-mri-ct[s3]'."
        ) from error
    return path
