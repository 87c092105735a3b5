"""The `StoragePath` of local files and folders, which are synced and then renamed into place."""

import hashlib
import os
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path, PosixPath
from tempfile import TemporaryFile
from typing import Any, ClassVar

from mrct.errors import STORAGE_FULL_ERRNOS, UsageError
from mrct.storage.atomic import (
    PARTIAL,
    remove_folder,
    replace_folder,
    write_atomic,
    write_folder,
    write_new,
)


class LocalPath(PosixPath):
    """A `StoragePath` in a local folder; it is also a `pathlib.Path`."""

    __slots__ = ()
    damage: ClassVar[type[OSError]] = OSError

    @property
    def local(self) -> "LocalPath":
        """The path itself."""
        return self

    def beside(self, suffix: str = "") -> Path:
        """Return the path with a suffix appended to its name."""
        return self.with_name(self.name + suffix)

    def contains(self, file: Path) -> bool:
        """Return whether a file lies inside, after resolving links."""
        return file.resolve().is_relative_to(self.resolve())

    def bytes_free(self) -> int:
        """Return the free bytes of its file system."""
        folder = self.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def modified(self) -> datetime:
        """Return when the file was last written."""
        return datetime.fromtimestamp(self.stat().st_mtime, UTC)

    def names(self) -> list[str]:
        """Return the entries of the folder, sorted."""
        return sorted(path.name for path in self.iterdir()) if self.is_dir() else []

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file at any depth."""
        files = (path for path in self.rglob("*") if path.is_file())
        return {str(path.relative_to(self)): path.stat().st_size for path in files}

    def read_files(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read files of the folder."""
        return {name: (self / name).read_bytes() for name in names}

    def ranges(self) -> Callable[[int, int], bytes]:
        """Open the file for reads of (start, stop).

        The file is held open, so that its content stays the same if another file replaces it. It is
        not memory-mapped, because reading a map of a truncated file kills the process (SIGBUS).
        """

        def read(start: int, stop: int) -> bytes:
            return os.pread(descriptor, stop - start, start)

        descriptor = os.open(self, os.O_RDONLY)
        weakref.finalize(read, os.close, descriptor)
        return read

    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of(self)

    def kvstore(self) -> dict[str, Any]:
        """Return the tensorstore specification of the folder."""
        return {"driver": "file", "path": str(self)}

    def arrow(self) -> tuple[str, None]:
        """Return the path and None, for pyarrow's local file system."""
        return str(self), None

    def reached(self) -> AbstractContextManager[None]:
        """Do nothing: errors of the local file system are already clear."""
        return nullcontext()

    def put(self, content: bytes) -> None:
        """Write the file by a synced temporary file and a rename."""
        write_atomic(self, content)

    def put_new(self, content: bytes) -> None:
        """Write the file unless it exists."""
        write_new(self, content)

    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Write the new folder atomically."""
        write_folder(self, files)

    def append(self, line: str, name: str) -> None:
        """Append the line to the file; `name` is not used."""
        with self.open("a") as file:  # one short write: lines of two processes do not mix
            file.write(line)

    def make_folder(self, *, exist_ok: bool = True) -> None:
        """Create the folder and its parents."""
        self.mkdir(parents=True, exist_ok=exist_ok)

    def remove(self) -> None:
        """Remove the file or folder."""
        if self.is_dir() and not self.is_symlink():
            shutil.rmtree(self, ignore_errors=True)
        else:
            self.unlink(missing_ok=True)

    def fetched(self) -> AbstractContextManager["LocalPath"]:
        """Return the folder itself."""
        return nullcontext(self)

    def staging(self) -> AbstractContextManager[Path]:
        """Return the folder itself."""
        return nullcontext(self)

    def settle(self, file: Path) -> None:
        """Sync a file of the folder."""
        with file.open("rb") as stream:
            os.fsync(stream.fileno())

    def publish(self, name: str, names: Sequence[str], last: str, content: bytes) -> None:
        """Write `last` and rename the folder."""
        (self / last).put(content)
        replace_folder(self, self.with_name(name))

    def published(self, last: str) -> list["LocalPath"]:
        """Return all entries with a final name, also those that lost their last file."""
        return [self / name for name in self.names() if not name.startswith(PARTIAL)]

    def withdraw(self, last: str) -> None:
        """Rename the folder, then delete its files."""
        remove_folder(self)


def make_output_folder(path: Path) -> None:
    """Make a folder that the user named for results, and its parents, before the work for them.

    Raises:
        UsageError: The folder cannot be made there, or nothing can be written to it.
    """
    failed = "cannot be made"
    try:
        path.mkdir(parents=True, exist_ok=True)
        failed = "cannot be written to"
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in STORAGE_FULL_ERRNOS:
            raise
        raise UsageError(
            f"The folder {path} {failed}: {error.strerror}. Give another path."
        ) from error


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
