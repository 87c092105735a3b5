"""All companions of a store: found, written, checked, and deleted with their subjects."""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from data_prep.store.commits import digest, removed_subjects
from data_prep.store.companions.group import (
    COMPANIONS,
    GROUP,
    KEY,
    Companion,
    EncodedGroup,
    group_path,
    inside,
    read_group,
)
from data_prep.store.writer import COMMIT_LOCK
from data_prep.store.zarr_codec import METADATA
from mrct.errors import StoreError, UnreachableError
from mrct.storage.atomic import PARTIAL
from mrct.storage.lock import wait_for_lock
from mrct.storage.names import is_plain
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Companions:
    """The companions of a store that were made from the same."""

    key: str
    by_mri: Mapping[str, Companion] = field(repr=False)

    def of(self, volume: str) -> Companion | None:
        """Return the companions of an MRI, `mri/<pseudonym>`; None if there are none."""
        return self.by_mri.get(volume)

    @property
    def hash(self) -> str:
        """Hash of all of them, by which runs know them."""
        return digest({name: each.sha256 for name, each in self.by_mri.items()})


def open_companions(store: StoragePath, key: str) -> Companions:
    """Open the companions of a key; without any, none are found.

    Their facts are read here, their files compared by `Companion.verify`.

    Raises:
        StoreError: The facts of some were changed.
    """
    names = (_volume(name) for name in _groups(store, key))
    found = {name: read_group(store, key, name) for name in names}
    return Companions(key=key, by_mri={name: each for name, each in found.items() if each})


def put_group(store: StoragePath, group: EncodedGroup) -> bool:
    """Write the companions of an MRI, their facts last; earlier ones are replaced.

    Args:
        store: Store, whose lock the command holds.
        group: The companions.

    Returns:
        Whether they were kept; not if one of their subjects has been removed from the store.

    Raises:
        OSError: They do not fit (ENOSPC), or the storage fails.
    """
    folder = group_path(store, group.key, group.mri)
    # A worker may outlive its killed command by a moment, in which a subject may be removed.
    with wait_for_lock(store / COMMIT_LOCK):
        if group.subjects & removed_subjects(store):
            return False
        if _is_there(folder, group):  # by a run that started at the same time, and reads them
            return True
        folder.parent.make_folder()
        _erase(folder)
        folder.put_files(group.files)
        (folder / METADATA).put(group.record)
    return True


def _is_there(folder: StoragePath, group: EncodedGroup) -> bool:
    """Return whether the very same companions are kept: their facts have hashes of all files."""
    sizes = {name: len(content) for name, content in group.files.items()}
    if folder.sizes() != sizes | {METADATA: len(group.record)}:
        return False
    return (folder / METADATA).read_bytes() == group.record


def sweep_companions(store: StoragePath, removed: Set[str] = frozenset()) -> int:
    """Delete what killed writers left, and all companions of removed subjects.

    With `removed` those whose facts cannot be read are deleted too: they may be of these subjects.

    Args:
        store: Store, whose lock the caller holds.
        removed: Subjects.

    Returns:
        Number of entries deleted.
    """
    if not (keys := _keys(store)):
        return 0
    count = 0
    with wait_for_lock(store / COMMIT_LOCK):
        for key in keys:
            for name in inside(store, key, KEY).names():
                if name.startswith(PARTIAL) or (
                    is_plain(name, GROUP) and _is_to_go(store, key, name, removed)
                ):
                    _erase(inside(store, f"{key}/{name}", f"{KEY}/.+"))
                    count += 1
            if not inside(store, key, KEY).names():
                inside(store, key, KEY).remove()
    return count


def companions_with(store: StoragePath, subject: str) -> list[str]:
    """Return the companions of a subject, onto its MRIs or from its CTs, as `<key>/<group>`."""
    return [
        f"{key}/{name}"
        for key in _keys(store)
        for name in _groups(store, key)
        if _is_to_go(store, key, name, {subject})
    ]


def check_companions(store: StoragePath, *, full: bool) -> Iterator[tuple[StoragePath, str]]:
    """Yield the folder of all companions that cannot be used, and why.

    Args:
        store: Store.
        full: Also read and hash every byte; otherwise names, sizes and metadata only.

    Raises:
        UnreachableError: The store is away.
    """
    for key in _keys(store):
        for name in _groups(store, key):
            try:
                if found := read_group(store, key, _volume(name)):
                    found.verify(full=full)
            except UnreachableError:
                raise
            except StoreError as error:
                yield group_path(store, key, _volume(name)), str(error)


def remove_damaged_companions(
    store: StoragePath, say: Callable[[str], None], *, full: bool
) -> None:
    """Delete the companions that cannot be used; `say` is called with the reason for each."""
    for folder, problem in [*check_companions(store, full=full)]:
        say(problem)
        _erase(folder)


def foreign_companions(store: StoragePath) -> list[str]:
    """Return what lies among the companions under a name that none can have."""
    names = (store / COMPANIONS).names()
    odd = [name for name in names if not is_plain(name, KEY)]
    odd += [
        f"{key}/{name}"
        for key in _keys(store)
        for name in inside(store, key, KEY).names()
        if not is_plain(name, GROUP) and not name.startswith(PARTIAL)
    ]
    return [f"{COMPANIONS}/{name}" for name in odd]


def _keys(store: StoragePath) -> list[str]:
    return [name for name in (store / COMPANIONS).names() if is_plain(name, KEY)]


def _groups(store: StoragePath, key: str) -> list[str]:
    return [name for name in inside(store, key, KEY).names() if is_plain(name, GROUP)]


def _volume(group: str) -> str:
    return group.replace("-", "/", 1)


def _is_to_go(store: StoragePath, key: str, name: str, removed: Set[str]) -> bool:
    """Return whether a group was not finished, or may show one of the removed subjects."""
    if not removed:
        return not (group_path(store, key, _volume(name)) / METADATA).exists()
    try:
        found = read_group(store, key, _volume(name))
    except UnreachableError:
        raise
    except StoreError:
        return True
    return found is None or bool(found.subjects & removed)


def _erase(folder: StoragePath) -> None:
    """Delete companions: their facts first, because without them they do not exist."""
    (folder / METADATA).remove()
    folder.remove()
