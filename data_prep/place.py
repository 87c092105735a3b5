"""Where a store lies, a folder or a URL, and the file operations that differ between the two.

A local file or folder appears by a rename, synced; an object store shows an object whole or not
at all. The home of fsspec; it knows nothing of what the files hold.
"""

import errno
import hashlib
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upath import UPath

from data_prep.atomic import write_atomic, write_folder
from data_prep.errors import StoreError, UsageError, UserError

Place = Path | UPath
"""A local path, or a URL of any protocol that fsspec knows, such as s3://bucket/brain.zarr."""
CLIENTS = ("botocore", "aiobotocore", "aiohttp", "gcsfs")
"""Packages whose errors mean that an object store does not answer."""


def place(text: str | Place) -> Place:
    """A URL where `text` is one, else an absolute path.

    Credentials and endpoints come from the environment, as the protocol's own tools have them.
    Raises UsageError for a protocol that is unknown or whose package is not installed.
    """
    text = str(text)
    if "://" not in text or text.startswith(("file://", "local://")):
        return Path(text.rpartition("://")[2]).expanduser().absolute()
    try:
        # Listings must be true when they are asked for: other processes write too.
        url = UPath(text.rstrip("/"), use_listings_cache=False)
        _ = url.fs
    except (ImportError, ValueError) as error:
        protocol = text.split("://")[0]
        raise UsageError(
            f"No place can be reached by {protocol}:// here ({error}). Install what fsspec needs "
            "for it; for s3: pip install 'cyclegan-mri-ct[s3]'."
        ) from error
    return url


@contextmanager
def reached(path: Place) -> Iterator[None]:
    """Say for people why a URL cannot be used; for the first access that a command makes to it.

    Raises StoreError for whatever its protocol's client raises in the block.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise StoreError(
            f"{path} cannot be reached ({type(error).__name__}: {error}). Check the bucket's name, "
            "the network, and the credentials and endpoint in the environment (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL)."
        ) from error


@contextmanager
def outages_as_os_errors() -> Iterator[None]:
    """A server that cannot be reached is an OSError, as a disk that fails is; clients of object
    stores have classes of their own for it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] not in CLIENTS:
            raise
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def beside(path: Place, suffix: str) -> Path:
    """A local file named after a place: next to it, or for a URL in the working folder."""
    folder = path.parent if isinstance(path, Path) else Path.cwd()
    return folder / (path.name + suffix)


def make_folder(path: Place) -> None:
    """Make a folder where there is none; an object store has no folders and needs none."""
    if isinstance(path, Path):
        path.mkdir(parents=True, exist_ok=True)


@outages_as_os_errors()
def put(path: Place, content: bytes) -> None:
    """Write or replace a file, whole or not at all."""
    if isinstance(path, Path):
        write_atomic(path, content)
    else:
        path.fs.pipe_file(path.path, content)


@outages_as_os_errors()
def put_new(path: Place, content: bytes) -> None:
    """Write a file that must not be there yet; on object stores by a conditional put.

    Raises FileExistsError where another one is there. A file with just this content is no other:
    a client that lost the answer to its put tries again.
    """
    if isinstance(path, Path):
        if path.exists():
            raise FileExistsError(path)
        write_atomic(path, content)
        return
    try:
        path.fs.pipe_file(path.path, content, mode="create")
    except FileExistsError:
        if path.fs.cat_file(path.path) != content:
            raise


@outages_as_os_errors()
def put_folder(folder: Place, files: Mapping[str, bytes]) -> None:
    """Write the files of a new folder, named relative to it.

    A local folder appears whole. Objects appear one by one: a reader must wait for what its
    writer puts last.
    """
    if isinstance(folder, Path):
        write_folder(folder, files)
        return
    folder.fs.pipe({f"{folder.path}/{name}": content for name, content in files.items()})
    if sizes_in(folder) != {name: len(content) for name, content in files.items()}:
        raise StoreError(f"{folder} does not hold what was just written to it: write it again.")


@outages_as_os_errors()
def read_files(folder: Place, names: Sequence[str]) -> dict[str, bytes]:
    """Files of a folder; from an object store all at once. Raises FileNotFoundError."""
    if isinstance(folder, Path) or not names:
        return {name: (folder / name).read_bytes() for name in names}
    paths = {name: f"{folder.path}/{name}" for name in names}
    found = folder.fs.cat(list(paths.values()))
    # For a single path fsspec gives the bytes themselves.
    return {
        name: found if isinstance(found, bytes) else found[path] for name, path in paths.items()
    }


@outages_as_os_errors()
def sizes_in(folder: Place) -> dict[str, int]:
    """Bytes of every file at any depth below a folder, by its name relative to it."""
    if isinstance(folder, Path):
        return {
            str(path.relative_to(folder)): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
    found = folder.fs.find(folder.path, detail=True)
    return {name[len(folder.path) + 1 :]: facts["size"] for name, facts in found.items()}


@outages_as_os_errors()
def names_in(folder: Place) -> list[str]:
    """The entries of a folder, sorted; none where there is no folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def remove(path: Place) -> None:
    """Remove a file or a folder; no error where there is none."""
    if not isinstance(path, Path):
        if path.exists():
            path.fs.rm(path.path, recursive=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@outages_as_os_errors()
def modified(path: Place) -> datetime:
    """When a file was last written, by the clock of the machine that keeps it."""
    if isinstance(path, Path):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    moment: datetime = path.fs.modified(path.path)
    return moment


def byte_ranges(path: Place) -> Callable[[int, int], bytes]:
    """A function from (start, stop) to those bytes of a file; nothing else of it is read.

    A local file is held open, so that it stays what it was when another takes its name. It is not
    mapped: reading a map of a file that was cut ends the process (SIGBUS).
    """

    def read(start: int, stop: int) -> bytes:
        if isinstance(path, Path):
            return os.pread(descriptor, stop - start, start)
        content: bytes = path.fs.cat_file(path.path, start=start, end=stop)
        return content

    if isinstance(path, Path):
        descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(read, os.close, descriptor)
    return read


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kvstore(path: Place) -> dict[str, Any]:
    """How tensorstore reaches a place, with the endpoint and region that AWS tools read."""
    if isinstance(path, Path):
        return {"driver": "file", "path": str(path)}
    bucket, _, key = path.path.partition("/")
    if path.protocol in ("gs", "gcs"):
        return {"driver": "gcs", "bucket": bucket, "path": key}
    if path.protocol not in ("s3", "s3a"):
        raise UsageError(
            f"Slices cannot be read from {path.protocol}://: tensorstore knows local folders, "
            "s3:// and gs://. Copy the store to one of those."
        )
    spec = {"driver": "s3", "bucket": bucket, "path": key}
    environment = os.environ
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if endpoint:
        # Beside an own endpoint tensorstore asks no one for the region.
        spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    elif region:
        spec |= {"aws_region": region}
    if "AWS_ACCESS_KEY_ID" in environment:
        # Its default chain would complain on stderr of each configuration file that is not there.
        return spec | {"aws_credentials": {"type": "environment"}}
    return spec
