"""The `StoragePath` of URLs on object stores, by fsspec.

An object is written atomically; a folder is only a common prefix of object names.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from mrct.errors import StoreError, UnreachableError, UsageError, UserError
from mrct.storage.local_path import LocalPath
from mrct.storage.names import is_plain
from mrct.storage.retry import TRANSFER_DELAYS_S, retry

CLIENTS = ("botocore", "aiobotocore", "aiohttp", "gcsfs")
"""Packages whose errors mean that an object store is unreachable."""


@contextmanager
def outages_as_os_errors() -> Iterator[None]:
    """Raise OSError (EIO) if a server cannot be reached, whatever its client raises."""
    try:
        yield
    except Exception as error:
        is_clients = type(error).__module__.split(".")[0] in CLIENTS
        if is_clients or (type(error) is OSError and error.errno is None):
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error
        raise


@dataclass(frozen=True, order=True, slots=True)
class ObjectPath:
    """A `StoragePath` under a URL of any protocol that fsspec knows, such as s3://bucket/a.zarr."""

    url: str
    """The URL, without a trailing slash."""
    damage: ClassVar[type[OSError]] = FileNotFoundError
    local: ClassVar[None] = None

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "ObjectPath":
        """The containing folder; for a bucket, the bucket itself."""
        protocol, _, key = self.url.partition("://")
        folder = key.rpartition("/")[0]
        return ObjectPath(f"{protocol}://{folder}") if folder else self

    def with_name(self, name: str) -> "ObjectPath":
        """Return the path beside this one."""
        return self.parent / name

    def absolute(self) -> "ObjectPath":
        """Return the URL, which is absolute."""
        return self

    @property
    def fs(self) -> Any:
        """fsspec's file system, shared by all paths of one protocol and configuration.

        Raises ImportError and ValueError for an unknown protocol.
        """
        return self._reach()[0]

    @property
    def key(self) -> str:
        """Path within the file system: bucket/folder/name."""
        return self._reach()[1]

    def _reach(self) -> tuple[Any, str]:
        # Imported here, so that commands on local files need not wait for it.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        # Listings must not be cached, because other processes write too.
        found: tuple[Any, str] = url_to_fs(self.url, use_listings_cache=False)
        return found

    def beside(self, suffix: str = "") -> Path:
        """Return a path in the working folder: the name with a suffix appended."""
        return Path.cwd() / (self.name + suffix)

    def contains(self, file: Path) -> bool:
        """Return False: no local file lies on an object store."""
        return False

    def bytes_free(self) -> None:
        """Return None: an object store has no limit."""

    @outages_as_os_errors()
    def exists(self) -> bool:
        """Return whether the object exists, or any object below."""
        return bool(self.fs.exists(self.key))

    @outages_as_os_errors()
    def modified(self) -> datetime:
        """Return when the object was written, by the clock of the object store."""
        moment: datetime = self.fs.modified(self.key)
        return moment

    @outages_as_os_errors()
    def names(self) -> list[str]:
        """Return the entries of the folder, sorted."""
        fs, key = self.fs, self.key
        if not fs.isdir(key):
            return []
        return sorted(name.rstrip("/").rpartition("/")[2] for name in fs.ls(key, detail=False))

    @outages_as_os_errors()
    def sizes(self) -> dict[str, int]:
        """Return the bytes of each object below."""
        key = self.key
        found = self.fs.find(key, detail=True)
        return {name[len(key) + 1 :]: facts["size"] for name, facts in found.items()}

    @outages_as_os_errors()
    def read_bytes(self) -> bytes:
        """Read the object."""
        content: bytes = self.fs.cat_file(self.key)
        return content

    def read_text(self) -> str:
        """Read the object as UTF-8."""
        return self.read_bytes().decode()

    @outages_as_os_errors()
    def read_files(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read objects of the folder concurrently."""
        if not names:
            return {}
        keys = {name: f"{self.key}/{name}" for name in names}
        found = self.fs.cat(list(keys.values()))
        # For a single path fsspec gives the bytes themselves.
        return {
            name: found if isinstance(found, bytes) else found[key] for name, key in keys.items()
        }

    def ranges(self) -> Callable[[int, int], bytes]:
        """Return a function that reads the bytes from start to stop only."""
        fs, key = self.fs, self.key

        @outages_as_os_errors()
        def read(start: int, stop: int) -> bytes:
            content: bytes = fs.cat_file(key, start=start, end=stop)
            return content

        return read

    @outages_as_os_errors()
    def sha256(self) -> str:
        """Return the SHA-256 of the object, read in chunks."""
        with self.fs.open(self.key, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def kvstore(self) -> dict[str, Any]:
        """Return its tensorstore specification, with endpoint and region from the environment."""
        protocol = self.url.partition("://")[0]
        bucket, _, key = self.key.partition("/")
        if protocol in ("gs", "gcs"):
            return {"driver": "gcs", "bucket": bucket, "path": key}
        if protocol not in ("s3", "s3a"):
            raise UsageError(
                f"Slices cannot be read from {protocol}://: tensorstore supports local folders, "
                "s3:// and gs://. Copy the store to one of those."
            )
        spec = {"driver": "s3", "bucket": bucket, "path": key}
        environment = os.environ
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        if endpoint:
            # With a custom endpoint tensorstore does not look up the region.
            spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
        elif region:
            spec |= {"aws_region": region}
        if "AWS_ACCESS_KEY_ID" in environment:
            # The default chain would print an error for each missing configuration file.
            return spec | {"aws_credentials": {"type": "environment"}}
        return spec

    def arrow(self) -> tuple[str, Any]:
        """Return the key, and the same file system wrapped for pyarrow."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return self.key, PyFileSystem(FSSpecHandler(self.fs))

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Convert errors of the protocol's client in the block to UnreachableError."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UnreachableError(
                f"The URL {self} cannot be reached ({type(error).__name__}: {error}). Check the "
                "bucket's name, the network, and the credentials and endpoint in the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL)."
            ) from error

    @outages_as_os_errors()
    def put(self, content: bytes) -> None:
        """Write the object."""
        self.fs.pipe_file(self.key, content)

    @outages_as_os_errors()
    def put_new(self, content: bytes) -> None:
        """Write the object if it does not exist (If-None-Match).

        An existing object with the same content is accepted, because a client that lost the
        response to its put tries again.
        """
        try:
            self.fs.pipe_file(self.key, content, mode="create")
        except FileExistsError:
            if self.fs.cat_file(self.key) != content:
                raise

    @outages_as_os_errors()
    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Write the objects, which appear one by one, and verify them by a listing."""
        key = self.key
        self.fs.pipe({f"{key}/{name}": content for name, content in files.items()})
        if self.sizes() != {name: len(content) for name, content in files.items()}:
            raise StoreError(
                f"{self} does not contain what was just written to it. Run the same command again."
            )

    def append(self, line: str, name: str) -> None:
        """Write the line as an object `name` in this folder: nothing can be appended to objects."""
        (self / name).put(line.encode())

    def make_folder(self, *, exist_ok: bool = True) -> None:
        """Do nothing: an object store needs no folders."""

    @outages_as_os_errors()
    def remove(self) -> None:
        """Remove the object and all objects below."""
        if self.exists():
            self.fs.rm(self.key, recursive=True)

    @contextmanager
    def fetched(self) -> Iterator[LocalPath]:
        """Download the folder to a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="fetched-") as temporary:
            here = LocalPath(temporary) / self.name
            here.make_folder()
            if not all(map(is_plain, self.sizes())):
                raise StoreError(f"An object below {self} has a name that leads out of its folder.")
            self._transfer(lambda: self.fs.get(f"{self.key}/", f"{here}/", recursive=True))
            yield here

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Create a temporary local folder, from which `settle` uploads."""
        with tempfile.TemporaryDirectory(prefix="staging-") as temporary:
            yield Path(temporary)

    def settle(self, file: Path) -> None:
        """Upload a file and delete the local one."""
        self._transfer(lambda: self.fs.put_file(str(file), f"{self.key}/{file.name}"))
        file.unlink()

    def publish(self, name: str, names: Sequence[str], last: str, content: bytes) -> None:
        """Copy the objects within the store, then write `last`, then remove the originals."""
        final = self.with_name(name)
        if final.exists():
            final.withdraw(last)
        pairs = [[f"{folder.key}/{each}" for each in names] for folder in (self, final)]
        self._transfer(lambda: self.fs.copy(*pairs))
        (final / last).put(content)
        self.remove()

    def published(self, last: str) -> list["ObjectPath"]:
        """Return the folders that contain `last`, from one listing of all objects."""
        ending = f"/{last}"
        found = (n.removesuffix(ending) for n in self.sizes() if n.endswith(ending))
        return [self / name for name in sorted(found)]

    def withdraw(self, last: str) -> None:
        """Remove `last`, then the others."""
        (self / last).remove()
        self.remove()

    def _transfer(self, action: Callable[[], object]) -> None:
        retry(outages_as_os_errors()(action), delays_s=TRANSFER_DELAYS_S)
