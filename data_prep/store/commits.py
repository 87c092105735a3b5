"""Commit records: a volume exists once its record does, and its files must match the record.

A record is sealed JSON: the volume's facts, and size and SHA-256 of each of its files.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Container
from typing import Any, cast

from data_prep.datasets.split import Split
from data_prep.store.stored_volume import PSEUDONYM, VOLUME_NAME
from data_prep.store.zarr_codec import METADATA, FileSums, compare, unknown_encoding
from mrct.errors import StoreError, UnreachableError
from mrct.imaging.modality import MODALITIES
from mrct.storage.atomic import PARTIAL
from mrct.storage.json_text import parse_json
from mrct.storage.names import safe_join
from mrct.storage.paths import StoragePath

COMMITS = "commits"
"""Folder of the commit records inside a store."""
HISTORY = "history"
"""Folder of what earlier indexes of a store named; see history.py."""
SPLITS_FILE = "splits.json"
"""File beside it with the split of every subject that has or had a volume."""
REMOVED_FILE = "removed.json"
"""File beside it with the subjects that were removed and must not come back."""
RECORD_FILE = rf"({'|'.join(MODALITIES)})-({PSEUDONYM})\.json"
IMAGE, BODY, SCORE = "0", "labels/body/0", "labels/score/0"
"""Paths of the arrays of a volume, relative to its group; only some have the last."""


def volume_path(store: StoragePath, name: str) -> StoragePath:
    """Return the path of the group of a volume.

    Args:
        store: Path of the store.
        name: Volume, as `<modality>/<pseudonym>`, from wherever it was read.

    Raises:
        StoreError: No volume can have this name, or a link leads out of the store.
    """
    return safe_join(store, name, VOLUME_NAME, _foreign(name, store))


def commit_path(store: StoragePath, name: str) -> StoragePath:
    """Return the path of the commit record of a volume, `<modality>/<pseudonym>`.

    Raises:
        StoreError: No volume can have this name, or a link leads out of the store.
    """
    volume_path(store, name)
    return safe_join(store, f"{COMMITS}/{_file_of(name)}", rf"{COMMITS}/.+", _foreign(name, store))


def committed(store: StoragePath) -> list[str]:
    """Return the names, `<modality>/<pseudonym>`, of all volumes that have a commit record."""
    files = (re.fullmatch(RECORD_FILE, file) for file in (store / COMMITS).names())
    return [f"{file[1]}/{file[2]}" for file in files if file]


def read_commit(store: StoragePath, name: str) -> dict[str, Any]:
    """Read a commit record.

    Args:
        store: Path of the store.
        name: Volume, as `<modality>/<pseudonym>`.

    Returns:
        The record, with `volume` (`StoredVolume.to_json`), `files` (`bytes` and `sha256` of each),
        `source_sha256`, `fingerprint` of the preprocessing, `notes`, `schema`, and `whole_size`,
        the rows and columns that would hold the whole body, or null.

    Raises:
        StoreError: The record is missing or was changed.
    """
    try:
        content = commit_path(store, name).read_bytes()
    except FileNotFoundError:
        path = f"{COMMITS}/{_file_of(name)}"
        raise damaged(store, name, path, "the commit record is missing") from None
    return _record(content, name, store)


def read_commits(store: StoragePath) -> list[dict[str, Any]]:
    """Read all commit records (`read_commit`), sorted by volume name.

    Raises:
        StoreError: A record was changed.
    """
    files = {_file_of(name): name for name in committed(store)}
    contents = (store / COMMITS).read_files(list(files))
    return [_record(content, files[file], store) for file, content in contents.items()]


def frozen_splits(
    store: StoragePath, records: list[dict[str, Any]] | None = None
) -> dict[str, Split]:
    """Return the split of every subject that has or had a volume; it never changes.

    Args:
        store: Path of the store.
        records: All commit records, if they have been read already.

    Raises:
        StoreError: A record, or the file of the splits, was changed.
    """
    path = store / SPLITS_FILE
    kept = unseal(path.read_bytes(), path, store)["splits"] if path.exists() else {}
    volumes = (record["volume"] for record in records or read_commits(store))
    return cast(dict[str, Split], kept | {v["subject"]: v["split"] for v in volumes})


def removed_subjects(store: StoragePath) -> set[str]:
    """Return the subjects that were removed from the store, also those whose removal was killed."""
    path = store / REMOVED_FILE
    return set(unseal(path.read_bytes(), path, store)["subjects"]) if path.exists() else set()


def put_volume(store: StoragePath, name: str, files: dict[str, bytes], record: bytes) -> None:
    """Write the files of a volume, then its commit record.

    The files of a successor are complete before the volume goes that it replaces: only a rename,
    or a copy within an object store, is left to do then.

    Args:
        store: Path of the store, locked for commits.
        name: Volume, as `<modality>/<pseudonym>`.
        files: Content by the path relative to the volume.
        record: The sealed commit record.

    Raises:
        StoreError: Another process has just committed the volume from other bytes.
    """
    folder, commit = volume_path(store, name), commit_path(store, name)
    if commit.exists():
        others = {file: content for file, content in files.items() if file != METADATA}
        successor = folder.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{folder.name}")
        successor.put_files(others)
        commit.remove()
        successor.publish(folder.name, list(others), METADATA, files[METADATA])
    else:
        folder.remove()
        folder.put_files(files)
    try:
        commit.put_new(record)
    except FileExistsError as error:
        raise StoreError(
            f"Another process committed {name} to {store} at the same time, from other bytes. Wait "
            f"until only one conversion runs, then run `python -m data_prep check {store} --full`."
        ) from error


def erase_volume(store: StoragePath, name: str) -> None:
    """Delete a volume: its record first, because without it the volume does not exist."""
    commit_path(store, name).remove()
    volume_path(store, name).remove()


def verify_files(store: StoragePath, name: str, *, full: bool = False) -> FileSums:
    """Compare a volume's files with its commit record.

    Checks number, names and sizes of all files, the hash of each `zarr.json`, the codecs in it, and
    the order of the slices in each shard.

    Args:
        store: Path of the store.
        name: Volume, as `<modality>/<pseudonym>`.
        full: Also read every file and check its hash.

    Returns:
        What the record says of each file.

    Raises:
        StoreError: A file differs; the message names it.
    """
    record = read_commit(store, name)
    expected: FileSums = record["files"]
    folder = volume_path(store, name)
    contents = compare(
        folder,
        folder.sizes(),
        expected,
        record["volume"]["shape"][0],
        lambda file, found: damaged(store, name, f"{name}/{file}", found),
        full=full,
    )
    for array in (IMAGE, BODY, *has_score_mask(expected) * [SCORE]):
        if asked := unknown_encoding(contents[f"{array}/{METADATA}"]):
            raise StoreError(
                f"The array {folder / array} requires {asked}, which this project does not write, "
                f"and an unknown decoder may run code. {_repair(store)}"
            )
    return expected


def has_score_mask(files: Container[str]) -> bool:
    """Return whether a volume of these files has a mask that was given with it."""
    return f"{SCORE}/{METADATA}" in files


def damaged(store: StoragePath, name: str, file: str, found: str) -> StoreError:
    """Return the error for a volume that differs from its record, or for a store that is away.

    Args:
        store: Path of the store.
        name: Volume, as `<modality>/<pseudonym>`.
        file: File that differs, relative to the store.
        found: What is wrong with the file, as a clause for the message.
    """
    try:
        with store.reached():
            (store / METADATA).read_bytes()
    except (OSError, UnreachableError) as error:  # where nothing can be read, nothing is damaged
        return UnreachableError(
            f"The store {store} cannot be read now ({error}). Check that its disk or network "
            "folder is there, and run the same command again."
        )
    return StoreError(
        f"The volume {name} is damaged: {file} in {store}: {found}. Training on it would learn "
        f"from wrong voxels. {_repair(store)}"
    )


def seal(document: dict[str, Any]) -> bytes:
    """Return JSON that includes its own SHA-256, so that any change is detected."""
    return json.dumps(document | {"sha256": digest(document)}, separators=(",", ":")).encode()


def unseal(content: bytes, path: StoragePath, store: StoragePath) -> dict[str, Any]:
    """Return the document of sealed JSON, without its hash.

    Args:
        content: Bytes written by `seal`.
        path: File that they were read from, for the message.
        store: Store that the message tells how to repair.

    Raises:
        StoreError: The content is not sealed JSON, or was changed after it was written.
    """
    try:
        document: dict[str, Any] = parse_json(content)
        expected = document.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"The file {path} cannot be read ({error}). {_repair(store)}") from error
    if digest(document) != expected:
        raise StoreError(f"The file {path} was changed after it was written. {_repair(store)}")
    return document


def digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a JSON document, independent of spacing and order."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _record(content: bytes, name: str, store: StoragePath) -> dict[str, Any]:
    path = commit_path(store, name)
    record = unseal(content, path, store)
    volume = record.get("volume")
    if not isinstance(volume, dict) or volume.get("name") != name:
        raise StoreError(f"The file {path} is not the record of {name}. {_repair(store)}")
    if (link := volume.get("link")) is not None:
        volume_path(store, str(link))
    return record


def _foreign(name: str, store: StoragePath) -> StoreError:
    return StoreError(
        f"The store {store} names a volume {name!r}. The name of a volume is mri/ or ct/ and 16 "
        "hexadecimal digits, and no link leads to it; this one could lead to other files. Nothing "
        f"there was read or deleted. {_repair(store)}"
    )


def _file_of(name: str) -> str:
    return f"{name.replace('/', '-')}.json"


def _repair(store: StoragePath) -> str:
    return (
        f"Run `python -m data_prep check {store} --repair --full` to remove damaged volumes, and "
        "then the same `python -m data_prep convert` again to restore them."
    )
