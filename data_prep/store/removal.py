"""Removes a subject for good, as after a withdrawn consent, or a store without volumes.

The first step of removing a subject writes it into `removed.json`. From then on no conversion takes
it in again, and whatever writes to the store next completes a removal that was killed.
"""

from contextlib import suppress

from data_prep.store.commits import (
    REMOVED_FILE,
    SPLITS_FILE,
    frozen_splits,
    read_commits,
    removed_subjects,
    seal,
    volume_path,
)
from data_prep.store.companions.cache import companions_with
from data_prep.store.companions.group import COMPANIONS
from data_prep.store.history import rebuild_index
from data_prep.store.index import INDEX
from data_prep.store.store import read_root
from data_prep.store.writer import FOLDERS, write_lock
from data_prep.store.zarr_codec import METADATA
from mrct.errors import StoreError
from mrct.imaging.modality import MODALITIES
from mrct.storage.paths import StoragePath


def known_subjects(path: StoragePath) -> set[str]:
    """Return the pseudonyms of all subjects that are or were in a store; raises StoreError."""
    read_root(path)
    return frozen_splits(path).keys() | removed_subjects(path)


def volumes_of(path: StoragePath, subject: str) -> list[str]:
    """Return the names of a subject's volumes, by their commit records."""
    volumes = (record["volume"] for record in read_commits(path))
    return [volume["name"] for volume in volumes if volume["subject"] == subject]


def remove_subject(path: StoragePath, subject: str) -> list[str]:
    """Delete voxels, records and index entries of a subject; return the names of its volumes.

    What was warped from its CTs or onto its MRIs goes too. The pseudonym alone stays, in
    `removed.json`.

    Raises:
        StoreError: Another command is writing to the store, or a file could not be deleted.
    """
    read_root(path)
    with write_lock(path):
        names = volumes_of(path, subject)
        subjects = sorted(removed_subjects(path) | {subject})
        (path / REMOVED_FILE).put(seal({"subjects": subjects}))
        rebuild_index(path)
        left = [name for name in names if volume_path(path, name).exists()]
        left += [f"{COMPANIONS}/{name}" for name in companions_with(path, subject)]
        if left:
            raise StoreError(
                f"The subject is out of the index of {path}, but voxels of it could not be "
                f"deleted: {', '.join(left)}. Delete these folders, or run the same command again "
                "as a user who may."
            )
    return names


def remove_if_empty(store: StoragePath) -> bool:
    """Remove a store in which no volume is or ever was; return whether it was removed.

    The caller holds its lock, whose release removes the folder. A killed removal leaves what the
    next conversion takes for a store whose conversion was not finished, or for none.
    """
    if frozen_splits(store) or removed_subjects(store):
        return False
    groups = (f"{modality}/{METADATA}" for modality in MODALITIES)
    for name in (INDEX, SPLITS_FILE, *groups, METADATA):
        (store / name).remove()
    if store.local:
        for name in FOLDERS:
            with suppress(OSError):  # it holds files of somebody else
                (store.local / name).rmdir()
    return True
