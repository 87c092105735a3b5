"""Commit records: a volume exists once its record does, and is what its record says.

A record is sealed JSON: the volume's facts, and size and SHA-256 of each of its files.
"""

import hashlib
import json
from typing import Any

from data_prep.store.zarr_codec import METADATA, unknown_encoding
from mrct.errors import StoreError
from mrct.storage.paths import StoragePath

COMMITS = "commits"
"""The folder of the records inside a store."""
IMAGE, BODY = "0", "labels/body/0"
"""The two arrays of a volume, named relative to it."""


def commit_path(store: StoragePath, name: str) -> StoragePath:
    """Where the commit record of the volume `name` lies."""
    return store / COMMITS / _file_of(name)


def committed(store: StoragePath) -> list[str]:
    """The names of all volumes that have a commit record."""
    names = (store / COMMITS).names()
    return [n.removesuffix(".json").replace("-", "/", 1) for n in names if n.endswith(".json")]


def read_commit(store: StoragePath, name: str) -> dict[str, Any]:
    """A volume's commit record: `volume`, `source_sha256`, `fingerprint`, `files`, `notes`."""
    try:
        content = commit_path(store, name).read_bytes()
    except FileNotFoundError:
        path = f"{COMMITS}/{_file_of(name)}"
        raise damaged(store, name, path, "there is no commit record") from None
    return unseal(content, commit_path(store, name), store)


def read_commits(store: StoragePath) -> list[dict[str, Any]]:
    """All commit records, by volume name. Raises StoreError where one is damaged."""
    folder = store / COMMITS
    contents = folder.read_files([_file_of(name) for name in committed(store)])
    return [unseal(content, folder / file, store) for file, content in contents.items()]


def verify(store: StoragePath, name: str, *, full: bool = False) -> None:
    """Compare a volume's files with its commit record; raises StoreError naming the file.

    Number, names and sizes of all files, the hash of each `zarr.json`, and the codecs that it asks
    for; with `full` the hash of every byte.
    """
    expected = read_commit(store, name)["files"]
    folder = store / name
    found = folder.sizes()
    for file in sorted(found.keys() | expected.keys()):
        if file not in expected or file not in found:
            state = "is missing" if file in expected else "is in no commit record"
            raise damaged(store, name, f"{name}/{file}", f"it {state}")
        if (size := found[file]) != (wanted := expected[file]["bytes"]):
            state = f"it has {size:,} bytes, not {wanted:,}"
            raise damaged(store, name, f"{name}/{file}", state)
    hashed = [file for file in expected if full or file.endswith(METADATA)]
    contents = folder.read_files(hashed)
    for file, content in contents.items():
        if hashlib.sha256(content).hexdigest() != expected[file]["sha256"]:
            raise damaged(store, name, f"{name}/{file}", "its SHA-256 is another")
    for array in (IMAGE, BODY):
        if asked := unknown_encoding(contents[f"{array}/{METADATA}"]):
            raise StoreError(
                f"{folder / array} asks for {asked}: not what this project writes, and an unknown "
                f"decoder may run code. {_repair(store)}"
            )


def damaged(store: StoragePath, name: str, file: str, found: str) -> StoreError:
    """The error for a volume that is not what was committed; `file` is relative to the store."""
    return StoreError(
        f"The volume {name} is damaged: {file} in {store}: {found}. Training on it would learn "
        f"from wrong voxels. {_repair(store)}"
    )


def seal(document: dict[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of itself, so that a changed digit is noticed."""
    return json.dumps(document | {"sha256": digest(document)}, separators=(",", ":")).encode()


def unseal(content: bytes, path: StoragePath, store: StoragePath) -> dict[str, Any]:
    """Read what `seal` made; raises StoreError where it is not the same any more."""
    try:
        document: dict[str, Any] = json.loads(content)
        expected = document.pop("sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read ({error}). {_repair(store)}") from error
    if digest(document) != expected:
        raise StoreError(f"{path} was changed after it was written. {_repair(store)}")
    return document


def digest(document: dict[str, Any]) -> str:
    """The SHA-256 of a JSON document, however it is spaced and ordered."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _file_of(name: str) -> str:
    return f"{name.replace('/', '-')}.json"


def _repair(store: StoragePath) -> str:
    return (
        f"Run `python -m data_prep check {store} --repair --full`, which takes out what is "
        "damaged, and then the same `python -m data_prep convert` again, which makes it anew."
    )
