"""Removes a subject from a store for good, as after a withdrawn consent.

The first step writes the subject into `removed.json`. From then on no conversion takes it in again,
and whatever writes to the store next completes a removal that was killed.
"""

from data_prep.store.commits import (
    REMOVED_FILE,
    frozen_splits,
    read_commits,
    removed_subjects,
    seal,
    volume_path,
)
from data_prep.store.store import read_root
from data_prep.store.writer import rebuild_index, write_lock
from mrct.errors import StoreError
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

    The pseudonym alone stays, in `removed.json`.

    Raises:
        StoreError: Another command is writing to the store, or a file could not be deleted.
    """
    read_root(path)
    with write_lock(path):
        names = volumes_of(path, subject)
        subjects = sorted(removed_subjects(path) | {subject})
        (path / REMOVED_FILE).put(seal({"subjects": subjects}))
        rebuild_index(path)
        if left := [name for name in names if volume_path(path, name).exists()]:
            raise StoreError(
                f"{len(left)} of {len(names)} volumes of the subject are out of the index of "
                f"{path}, but their voxels could not be deleted: {', '.join(left)}. Delete these "
                "folders, or run the same command again as a user who may."
            )
    return names
