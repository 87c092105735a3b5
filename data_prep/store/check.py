"""Checks and repairs a store against its commit records."""

import re
from collections.abc import Callable

from data_prep.datasets.split import Split
from data_prep.store.commits import (
    COMMITS,
    RECORD_FILE,
    SPLITS_FILE,
    committed,
    erase_volume,
    frozen_splits,
    read_commit,
    seal,
    verify_files,
)
from data_prep.store.companions.cache import (
    check_companions,
    foreign_companions,
    remove_damaged_companions,
)
from data_prep.store.heights import read_heights
from data_prep.store.history import has_lost_heights, rebuild_index
from data_prep.store.store import Store, StoredVolume, open_store, read_root
from data_prep.store.stored_volume import PSEUDONYM
from data_prep.store.writer import write_lock
from data_prep.store.zarr_codec import METADATA
from mrct.errors import StoreError, UnreachableError
from mrct.imaging.modality import MODALITIES
from mrct.progress import progress
from mrct.storage.atomic import PARTIAL
from mrct.storage.paths import StoragePath


def check(store: Store, *, full: bool = False) -> list[str]:
    """Return all problems of a store.

    Compares every volume's files with its commit record, companions with the volumes that they were
    made of, and the index with the records and the axis of heights, and finds links to missing
    volumes or to another grid.

    Args:
        store: Store to check.
        full: Also read and hash every byte; otherwise names, sizes and metadata of files only.

    Returns:
        A message for each problem; empty if the store is sound.

    Raises:
        UnreachableError: The store is away.
    """
    names = {volume.name for volume in store.volumes}
    problems = []
    with progress("check", total=len(store.volumes)) as advance:
        for volume in store.volumes:
            try:
                store.verify(volume, full=full)
                record = StoredVolume.from_json(read_commit(store.path, volume.name)["volume"])
                if record.on(store.axis).to_json() != volume.to_json():
                    problems.append(f"The index and the commit record differ on {volume.name}.")
                if volume.modality == "mri":
                    store.partner(volume)
            except UnreachableError:
                raise
            except StoreError as error:
                problems.append(str(error))
            if volume.link and volume.link not in names:
                problems.append(
                    f"The volume {volume.name} is linked to {volume.link}, which is missing."
                )
            advance()
    problems += [
        f"The volume {name} is committed but not in the index: run the same convert again."
        for name in sorted(set(committed(store.path)) - names)
    ]
    problems += [problem for _, problem in check_companions(store.path, full=full)]
    return problems + _foreign(store.path)


def repair(path: StoragePath, say: Callable[[str], None], *, full: bool = False) -> int:
    """Remove damaged volumes and rebuild the index; return the number of volumes removed.

    Companions that are damaged, or made of a volume that is not there as it was, are removed too.

    Args:
        path: Store, which need not have an index.
        say: Called with a message for each problem.
        full: Find damage by reading and hashing every byte, not by names, sizes and metadata only.

    Raises:
        NoStoreError: There is nothing at `path`.
        StoreError: Another command is writing to the store, or its root cannot be used, or read
            any more; nothing was removed.
        UsageError: `path` is not a store of this project.
    """
    read_root(path)
    with write_lock(path):
        return remove_damaged(path, say, full=full)


def remove_damaged(path: StoragePath, say: Callable[[str], None], *, full: bool) -> int:
    """Repair a store whose lock the caller holds, as `repair` does.

    A volume that is converted again gets the previous split of its subject.

    Args:
        path: Store, locked by `write_lock`.
        say: Called with a message for each problem.
        full: Find damage by reading and hashing every byte, not by names, sizes and metadata only.

    Returns:
        Number of volumes removed.
    """
    names = committed(path)
    damaged = []
    with progress("check", total=len(names)) as advance:
        for name in names:
            try:
                verify_files(path, name, full=full)
            except UnreachableError:
                raise
            except StoreError as error:
                say(str(error))
                damaged.append(name)
            advance()
    for name in damaged:
        erase_volume(path, name)
    remove_damaged_companions(path, say, full=full)
    for problem in _foreign(path):
        say(problem)
    try:
        frozen_splits(path)
    except StoreError as error:
        say(str(error))
        (path / SPLITS_FILE).put(seal({"splits": _splits_in_index(path)}))
    is_lost = has_lost_heights(path)
    try:
        read_heights(path)
    except StoreError as error:
        say(str(error))
        is_lost = True
    if is_lost:
        say(
            f"The axis of heights of {path} was lost, and is fitted again. Runs on this store can "
            "only be resumed if it comes out as it was: a resume says whether it did."
        )
    rebuild_index(path, refit=is_lost)
    return len(damaged)


def _foreign_entries(store: StoragePath) -> list[str]:
    """Return what lies among records and volumes under a name that neither can have.

    It is never read, and never deleted, since it may be anything.
    """
    patterns = {COMMITS: RECORD_FILE} | dict.fromkeys(MODALITIES, rf"{METADATA}|{PSEUDONYM}")
    return [
        f"{folder}/{name}"
        for folder, pattern in patterns.items()
        for name in (store / folder).names()
        if not name.startswith(PARTIAL) and not re.fullmatch(pattern, name)
    ] + foreign_companions(store)


def _foreign(path: StoragePath) -> list[str]:
    return [
        f"{name!r} in {path} is neither a record nor a volume: no command gives such a name. It "
        "was not read, and is not deleted by any command. Delete it if you do not know it."
        for name in _foreign_entries(path)
    ]


def _splits_in_index(path: StoragePath) -> dict[str, Split]:
    try:
        return {volume.subject: volume.split for volume in open_store(path).volumes}
    except StoreError:
        return {}  # the commit records give the splits of all remaining volumes
