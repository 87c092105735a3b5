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

    Paths are made by `storage_path` and joined with `/`. Any method that reaches the storage raises
    OSError if that fails: an unreachable object store is like a failing disk.
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
        """The error that reading raises if a file is lost or damaged.

        On an object store any other error is an outage, which does not concern the file.
        """

    def __truediv__(self, name: str, /) -> "StoragePath":
        """Return the path of an entry."""

    def with_name(self, name: str) -> "StoragePath":
        """Return the path of another entry of the same folder."""

    def absolute(self) -> "StoragePath":
        """Return the absolute path, which is the same in processes with another working folder."""

    def beside(self, suffix: str = "") -> Path:
        """Return a local path whose name is this one's with a suffix appended.

        It lies next to a local path, and in the working folder for one on an object store.

        Args:
            suffix: End of the name, such as `.html`.
        """

    def contains(self, file: Path) -> bool:
        """Return whether a local file lies inside, after resolving links."""

    def exists(self) -> bool:
        """Return whether the file or folder exists."""

    def bytes_free(self) -> int | None:
        """Return the free bytes of the file system; None if there is no limit."""

    def modified(self) -> datetime:
        """Return when the file was last written, by the clock of the storage.

        Raises:
            FileNotFoundError: The file does not exist.
        """

    def names(self) -> list[str]:
        """Return the entries of a folder, sorted; empty if it does not exist."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file at any depth, by its name relative to the folder."""

    def read_bytes(self) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: The file does not exist.
        """

    def read_text(self) -> str:
        """Read a file as text.

        Raises:
            FileNotFoundError: The file does not exist.
        """

    def read_files(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read files of a folder, concurrently if that is faster.

        Args:
            names: Paths of the files relative to the folder.

        Returns:
            The content of each file by its name, in the order of `names`.

        Raises:
            FileNotFoundError: One of the files does not exist.
        """

    def ranges(self) -> Callable[[int, int], bytes]:
        """Return a function of (start, stop) that reads these bytes of a file, `stop` excluded."""

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of a file."""

    def kvstore(self) -> dict[str, Any]:
        """Return the key-value store of the folder as a tensorstore specification.

        Raises:
            UsageError: tensorstore does not support the protocol of the URL.
        """

    def arrow(self) -> tuple[str, Any]:
        """Return the path and its file system for pyarrow; None stands for the local one."""

    def reached(self) -> AbstractContextManager[None]:
        """Explain errors of the block, which contains the first access of a command to a URL.

        Raises:
            StoreError: The URL cannot be reached; the message names what to check.
        """

    def put(self, content: bytes) -> None:
        """Write or replace a file atomically."""

    def put_new(self, content: bytes) -> None:
        """Write a file that must not exist yet.

        Raises:
            FileExistsError: The file exists; on an object store, only if its content differs.
        """

    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Write the files of a new folder.

        A local folder appears atomically. Objects appear one by one: a reader must wait for a file
        that is written after all of them.

        Args:
            files: Content by the path relative to the folder.
        """

    def append(self, line: str, name: str) -> None:
        """Append a line to a file that several processes share.

        On an object store, where nothing can be appended to, the path becomes a folder of lines.

        Args:
            line: Text of the line, with its newline.
            name: Name of the line's own object on an object store, unique among all lines.
        """

    def make_folder(self, *, exist_ok: bool = True) -> None:
        """Create the folder and its parents, if the storage has folders.

        Raises:
            FileExistsError: A local folder exists, and `exist_ok` is false.
        """

    def remove(self) -> None:
        """Remove a file or folder, if it exists."""

    def fetched(self) -> AbstractContextManager[LocalPath]:
        """Yield a local folder with the same files, during the block."""

    def staging(self) -> AbstractContextManager[Path]:
        """Yield a local folder in which to write the files of this one, during the block."""

    def settle(self, file: Path) -> None:
        """Store a file written in `staging` permanently in this folder.

        Args:
            file: The file in the folder that `staging` yields.
        """

    def publish(self, name: str, names: Sequence[str], last: str, content: bytes) -> None:
        """Give the folder its final name, replacing an earlier folder of that name.

        Args:
            name: The final name, in the same parent folder.
            names: The files of the folder.
            last: File that is written after all others and marks the folder as complete.
            content: Content of `last`.
        """

    def published(self, last: str) -> "Sequence[StoragePath]":
        """Return the published folders in this one, sorted by name.

        A local one that has lost its file `last` is among them; on an object store it is not.

        Args:
            last: File that marks a folder as complete.
        """

    def withdraw(self, last: str) -> None:
        """Delete a published folder; if the process is killed, none remains that seems complete.

        Args:
            last: File that marks the folder as complete.
        """


def storage_path(text: "str | Path | StoragePath") -> StoragePath:
    """Return the absolute path of a local folder or file, or of a URL.

    Credentials and endpoints are taken from the environment, as by the protocol's own tools.

    Args:
        text: Local path, in which `~` is the home folder, or a URL such as s3://bucket/brain.zarr.

    Returns:
        An `ObjectPath` for a URL, else a `LocalPath`; the protocols file and local are local.

    Raises:
        UsageError: The protocol is unknown, or its package is not installed.

    Examples:
        >>> path = storage_path("/data/brain.zarr")
        >>> path / "commits"
        LocalPath('/data/brain.zarr/commits')
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
            "fsspec needs for them; for s3: pip install s3fs."
        ) from error
    return path
