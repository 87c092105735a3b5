"""Taking what is damaged out of a store, so that `convert` can make it again.

A store keeps no path to its sources, so only a command that names them can make a volume anew:
`convert --repair` does both.
"""

from collections.abc import Callable

from data_prep.datasets.split import Split
from data_prep.store.commits import commit_path, committed, seal, verify
from data_prep.store.store import open_store, read_root
from data_prep.store.writer import SPLITS_FILE, frozen_splits, rebuild_index, writing
from mrct.errors import StoreError
from mrct.progress import progress
from mrct.storage.paths import StoragePath


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
