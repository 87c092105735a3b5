"""Writes the store: creates it, locks it, and commits each volume atomically."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import Split
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.store.commits import (
    BODY,
    COMMITS,
    HISTORY,
    IMAGE,
    SCORE,
    committed,
    put_volume,
    seal,
)
from data_prep.store.store import STORE_SCHEMA, fingerprint_of, read_root
from data_prep.store.stored_volume import VOLUME_NAME, StoredVolume, ome_groups
from data_prep.store.zarr_codec import (
    ATTRIBUTE,
    METADATA,
    encode,
    sums_of,
    zarr_group,
)
from mrct.errors import OtherStoreError, StoreError
from mrct.imaging.geometry import SLICE_STEPS
from mrct.imaging.intensity import normalise
from mrct.imaging.modality import MODALITIES, Modality
from mrct.imaging.volume import Grid
from mrct.storage.atomic import PARTIAL
from mrct.storage.lock import exclusive_lock, wait_for_lock
from mrct.storage.names import ANY_NAME, is_plain, safe_join
from mrct.storage.paths import StoragePath

LOCK, COMMIT_LOCK = ".lock", ".commit"
"""Locks in a store: of whoever changes it, and for the moment of a commit."""
FOLDERS = (*MODALITIES, COMMITS)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedVolume:
    """A volume on the store's grid, ready to be written."""

    modality: Modality
    kind: str = "unknown"
    pseudonym: str
    subject: str
    """The subject's pseudonym."""
    split: Split
    link: str | None
    """Name (`ct/<pseudonym>`) of the aligned volume of the other modality."""
    preprocessed: PreprocessedVolume
    source_sha256: str
    notes: tuple[str, ...] = ()
    """Corrections and what could not be checked, a sentence each, without patient text."""

    @property
    def name(self) -> str:
        """The volume's group inside the store."""
        return f"{self.modality}/{self.pseudonym}"

    @property
    def grid(self) -> Grid:
        """Grid of the stored voxels."""
        return self.preprocessed.grid


def create_store(
    path: StoragePath,
    *,
    spacing_mm: tuple[float, float, float],
    size: tuple[int, int],
    settings: Mapping[str, Any],
    key_check: str = "",
) -> str:
    """Create an empty store unless it exists, and return its fingerprint.

    Args:
        path: Local folder or URL.
        spacing_mm: Voxel size along (z, y, x), in mm.
        size: Rows and columns (Y, X) of every slice.
        settings: All other settings that determine the voxels.
        key_check: Fingerprint of the key of the pseudonyms.

    Raises:
        OtherStoreError: The existing store has another preprocessing, so that two kinds of volumes
            would mix, or another key, so that one volume would get two names.
        StoreError: The existing store has another schema, or was changed.
        UsageError: There is something else at `path`.
    """
    wanted = {"schema": STORE_SCHEMA, "spacing_mm": list(spacing_mm), "size": list(size)}
    wanted |= {"settings": json.loads(json.dumps(dict(settings)))}  # as it will be read back
    fingerprint = fingerprint_of(wanted)
    if not _is_new(path):
        root = read_root(path)
        _refuse_other(path, root, wanted | {"fingerprint": fingerprint})
        if root.get("key_check") != key_check:
            raise OtherStoreError(
                f"The pseudonyms in {path} were made with another key: with this one every volume "
                "would get a second name, and a subject could be in two splits. Give the store's "
                "own key (--key-file), or convert into a new --out."
            )
        return fingerprint
    root = wanted | {"fingerprint": fingerprint, "key_check": key_check}
    with path.reached():
        for name in FOLDERS:
            (path / name).make_folder()
        for modality in MODALITIES:
            (path / modality / METADATA).put(zarr_group({}))
        # Written last, because it turns the folders into a store.
        (path / METADATA).put(zarr_group({ATTRIBUTE: root}))
    return fingerprint


def _refuse_other(path: StoragePath, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if found["fingerprint"] == wanted["fingerprint"]:
        return
    found, wanted = found | found["settings"], wanted | wanted["settings"]
    names = sorted((found.keys() | wanted.keys()) - {"fingerprint", "settings", "key_check"})
    differences = [
        f"  {name}: store {found.get(name)}, asked for {wanted.get(name)}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]
    raise OtherStoreError(
        f"The store {path} has another preprocessing:\n" + "\n".join(differences) + "\n"
        "With both kinds of volumes in one store, the networks would learn the difference. "
        "Convert with the store's own settings, or give a new --out."
    )


def _is_new(path: StoragePath) -> bool:
    """Return whether there is nothing, or what a conversion leaves that is killed at its start."""
    with path.reached():
        found = {*path.names()} - {*FOLDERS, LOCK, COMMIT_LOCK}
        found |= {name for folder in FOLDERS for name in (path / folder).names()} - {METADATA}
    return all(name.startswith(PARTIAL) for name in found)


@contextmanager
def store_lock(path: StoragePath) -> Iterator[None]:
    """Hold the lock of a store that exists or is to be created during the block.

    If there is no store at the end of the block, its folder is removed again.

    Raises:
        StoreError: Another process holds the lock.
        UsageError: There is something else at `path`.
    """
    if not _is_new(path):
        read_root(path)
    busy = StoreError(
        f"Another conversion is writing to {path}, and two would overwrite each other. "
        "Wait for it to end, or give another --out."
    )
    with ExitStack() as lock:
        with path.reached():
            lock.enter_context(exclusive_lock(path / LOCK, busy))
        try:
            yield
        finally:
            if (local := path.local) and not {*local.names()} - {LOCK, COMMIT_LOCK}:
                for name in (COMMIT_LOCK, LOCK):
                    (local / name).unlink(missing_ok=True)
                with suppress(OSError):  # another process has just begun there
                    local.rmdir()


@contextmanager
def write_lock(path: StoragePath) -> Iterator[int]:
    """Hold the store's lock during the block, and first remove what killed writers left.

    Yields:
        Number of entries removed.

    Raises:
        StoreError: Another process holds the lock.
    """
    with store_lock(path):
        yield sweep(path)


def sweep(path: StoragePath) -> int:
    """Remove what killed writers left in a store whose lock the caller holds; return how much."""
    # A killed conversion's workers may outlive it by a moment, in the middle of a commit.
    with wait_for_lock(path / COMMIT_LOCK):
        litter = {
            f"{folder}/{name}".removeprefix("/")
            for folder in ("", COMMITS, HISTORY, *MODALITIES)
            for name in (path / folder if folder else path).names()
            if name.startswith(PARTIAL) or is_plain(f"{folder}/{name}", VOLUME_NAME)
        } - {*committed(path)}
        linked = StoreError(
            f"A folder in {path} is a link; replace it by the folder that it links to."
        )
        for name in litter:
            safe_join(path, name, ANY_NAME, linked).remove()
        return len(litter)


def write_volume(store: StoragePath, prepared: PreparedVolume) -> StoredVolume:
    """Write and commit one volume: its files, complete and synced, then the commit record.

    If the process is killed before the record is written, the volume does not exist and is
    converted again. An existing volume is replaced, once all files of its successor are written.

    Args:
        store: Path of the store; `prepared` must lie on its grid.
        prepared: Volume to write.

    Returns:
        The facts of the volume, as its record states them.

    Raises:
        OSError: The volume does not fit (ENOSPC), or the storage fails.
        StoreError: Another process has just committed the volume from other bytes.
    """
    stored = _describe(prepared)
    root = read_root(store)
    assert prepared.grid.shape[1:] == tuple(root["size"]), "not on the store's grid"
    origin = {"source_sha256": prepared.source_sha256, "fingerprint": root["fingerprint"]}
    labels = ["body"] + (prepared.preprocessed.score_mask is not None) * ["score"]
    files = ome_groups(stored, stored.to_json() | origin, labels)
    for array, voxels in _arrays(prepared.preprocessed).items():
        files |= {f"{array}/{name}": content for name, content in encode(voxels).items()}
    sums = sums_of(files, stored.shape[0])
    commit = {"schema": STORE_SCHEMA, "volume": stored.to_json(), "files": sums, **origin}
    reported = {"notes": list(prepared.notes), "whole_size": prepared.preprocessed.whole_size}
    record = seal(commit | reported)
    with wait_for_lock(store / COMMIT_LOCK):
        put_volume(store, stored.name, files, record)
    return stored


def _describe(prepared: PreparedVolume) -> StoredVolume:
    preprocessed = prepared.preprocessed
    fraction, own = preprocessed.body.mean(axis=(1, 2)), preprocessed.placement
    # Slice by slice, because the whole volume as floats would take twice its memory.
    values = (normalise(s.astype(np.float32), preprocessed.window) for s in preprocessed.voxels)
    return StoredVolume(
        name=prepared.name,
        modality=prepared.modality,
        kind=prepared.kind,
        subject=prepared.subject,
        split=prepared.split,
        link=prepared.link,
        shape=preprocessed.grid.shape,
        affine=preprocessed.affine,
        window=preprocessed.window,
        scale=preprocessed.scale,
        offset=preprocessed.offset,
        body_fraction=_in_steps(fraction),
        outline=preprocessed.outline,
        lowest=own.lowest,
        highest=own.highest,
        deviation=_in_steps(np.array([float(each.std()) for each in values])),
        source_shape=preprocessed.source.shape,
        source_affine=preprocessed.source.affine,
    )


def _in_steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(values * SLICE_STEPS) / SLICE_STEPS


def encoded_bytes(preprocessed: PreprocessedVolume) -> int:
    """Return the size of a volume's image and masks in a store, without writing them."""
    arrays = _arrays(preprocessed).values()
    return sum(len(content) for array in arrays for content in encode(array).values())


def _arrays(preprocessed: PreprocessedVolume) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        IMAGE: preprocessed.voxels,
        BODY: preprocessed.body.astype(np.uint8),
    }
    if preprocessed.score_mask is not None:
        arrays[SCORE] = preprocessed.score_mask.astype(np.uint8)
    return arrays
