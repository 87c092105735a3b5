"""Whether a store still is what was committed. It changes nothing."""

from collections.abc import Callable

from data_prep.datasets.split import Split
from data_prep.store.commits import commit_path, committed, read_commit, seal, verify
from data_prep.store.store import Store, StoredVolume, open_store, read_root
from data_prep.store.writer import SPLITS_FILE, frozen_splits, rebuild_index, writing
from mrct.errors import StoreError
from mrct.progress import progress
from mrct.storage.paths import StoragePath


def check(store: Store, *, full: bool = False) -> list[str]:
    """All that is wrong with a store, a sentence each; empty when it is sound.

    Every volume's files against its commit record (`full` reads and hashes every byte), the index
    against the records, and links that lead nowhere or to another grid.
    """
    names = {volume.name for volume in store.volumes}
    problems = []
    with progress("check", total=len(store.volumes)) as advance:
        for volume in store.volumes:
            try:
                store.verify(volume, full=full)
                record = StoredVolume.from_json(read_commit(store.path, volume.name)["volume"])
                if record.to_json() != volume.to_json():
                    problems.append(f"The index and the commit record differ on {volume.name}.")
                if volume.modality == "mri":
                    store.partner(volume)
            except StoreError as error:
                problems.append(str(error))
            if volume.link and volume.link not in names:
                problems.append(f"{volume.name} is linked to {volume.link}, which is not there.")
            advance()
    problems += [
        f"{name} is committed but not in the index: run the same convert again."
        for name in sorted(set(committed(store.path)) - names)
    ]
    return problems


def repair(path: StoragePath, say: Callable[[str], None], *, full: bool = False) -> int:
    """Take the damaged volumes out and make the index anew; returns how many there were.

    Raises StoreError where there is no store or another command writes to it.
    """
    read_root(path)
    with writing(path):
        return take_out_damaged(path, say, full=full)


def take_out_damaged(path: StoragePath, say: Callable[[str], None], *, full: bool) -> int:
    """`repair` for a caller that holds the store's lock; `say` hears what is wrong with each.

    A volume that is made again gets the split that its subject had.
    """
    names = committed(path)
    damaged = []
    with progress("check", total=len(names)) as advance:
        for name in names:
            try:
                verify(path, name, full=full)
            except StoreError as error:
                say(str(error))
                damaged.append(name)
            advance()
    for name in damaged:
        commit_path(path, name).remove()  # first: without it the volume does not exist
        (path / name).remove()
    try:
        frozen_splits(path)
    except StoreError as error:
        say(str(error))
        (path / SPLITS_FILE).put(seal({"splits": _splits_in_index(path)}))
    rebuild_index(path)
    return len(damaged)


def _splits_in_index(path: StoragePath) -> dict[str, Split]:
    try:
        return {volume.subject: volume.split for volume in open_store(path).volumes}
    except StoreError:
        return {}  # the records say it for all that is left
