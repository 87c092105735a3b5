"""The index of the volumes that a store has, and the names of those that it had before.

A run continues with the volumes that it began with, after others were added. For that,
`history/<contents>.json` names the volumes and subjects of each earlier index, by its hash.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from data_prep.datasets.split import SPLITS
from data_prep.preprocess.height_axis import IN_EACH_FIELD_OF_VIEW, HeightAxis
from data_prep.store.commits import (
    HISTORY,
    SPLITS_FILE,
    erase_volume,
    frozen_splits,
    read_commits,
    removed_subjects,
    seal,
    unseal,
)
from data_prep.store.companions.cache import sweep_companions
from data_prep.store.heights import (
    HEIGHTS_FILE,
    axis_content,
    axis_of_store,
    fit_heights,
    placement_of,
)
from data_prep.store.index import (
    IN_STEPS,
    INDEX,
    INDEX_SCHEMA,
    TEXTS,
    Index,
    Volumes,
    contents_hash,
)
from data_prep.store.store import Store, read_root
from data_prep.store.writer import write_lock
from mrct.errors import StoreError
from mrct.imaging.geometry import SLICE_STEPS
from mrct.imaging.modality import MODALITIES
from mrct.storage.names import is_plain
from mrct.storage.paths import StoragePath
from mrct.storage.safetensors_header import header_of

_ENTRY = r"[0-9a-f]{16}\.json"


def as_of(store: Store, contents: str) -> Store | None:
    """Return a store with only the volumes that it had when its index had the hash `contents`.

    Returns:
        The store, or None if it is not known to have had such an index, or if one of the volumes
        was changed or removed since.
    """
    if contents == store.contents:
        return store
    names = [name.encode() for name in _volumes_in(store.path, f"{contents}.json")]
    if not names:
        return None
    earlier = store.volumes.where(np.isin(store.volumes.texts("name"), names))
    if contents_of(earlier, store.axis) != contents:
        return None
    return replace(store, contents=contents, volumes=earlier)


def _remember(store: StoragePath) -> None:
    """Keep the names of the volumes of the index, which is about to be replaced."""
    try:
        index = Index(store / INDEX)
        columns = (Volumes(index).texts(name).tolist() for name in ("name", "subject"))
        volumes = {name.decode(): subject.decode() for name, subject in zip(*columns, strict=True)}
    except StoreError:  # it is replaced because it is damaged
        volumes = {}
    if volumes:
        (store / HISTORY).make_folder()
        (store / HISTORY / f"{index.contents}.json").put(seal({"volumes": volumes}))


def _forget(store: StoragePath, removed: set[str]) -> None:
    """Delete every earlier index with a removed subject, and those that cannot be read."""
    for name in (store / HISTORY).names():
        volumes = _volumes_in(store, name)
        if not volumes or removed & {*volumes.values()}:
            (store / HISTORY / name).remove()


def _volumes_in(store: StoragePath, name: str) -> dict[str, str]:
    """Return the subjects of the volumes of an earlier index; empty without a sound file."""
    path = store / HISTORY / name
    if not is_plain(name, _ENTRY) or not path.exists():
        return {}
    with suppress(StoreError):
        volumes: dict[str, str] = unseal(path.read_bytes(), path, store)["volumes"]
        return volumes
    return {}


def rebuild_index(store: StoragePath, *, fit: bool = False, refit: bool = False) -> None:
    """Write the index and the frozen splits from the commit records.

    The names of the volumes that the index had before are kept (`as_of`). Volumes and companions of
    removed subjects are erased first, so that a killed removal is completed. With `fit` the axis of
    heights is fitted if the store has none, with `refit` in any case.

    Raises:
        StoreError: A record, or the file of the splits, was changed, or the axis was lost.
    """
    if not refit:
        require_heights(store)
    removed = removed_subjects(store)
    records = read_commits(store)
    for record in records:
        if record["volume"]["subject"] in removed:
            erase_volume(store, record["volume"]["name"])
    sweep_companions(store, removed)
    records = [record for record in records if record["volume"]["subject"] not in removed]
    known = frozen_splits(store, records)
    splits = {subject: split for subject, split in known.items() if subject not in removed}
    (store / SPLITS_FILE).put(seal({"splits": dict(sorted(splits.items()))}))
    kept = fit_heights(records) if refit else axis_of_store(store, records, removed, fit=fit)
    index, path = index_of(records, kept.axis if kept else IN_EACH_FIELD_OF_VIEW), store / INDEX
    if path.exists() and path.read_bytes() != index:
        _remember(store)
    if removed:
        _forget(store, removed)
    if kept:
        (store / HEIGHTS_FILE).put(axis_content(kept.axis, sorted(kept.subjects)))
    path.put(index)
    if kept is None:  # only now: without it the index would name a lost axis
        (store / HEIGHTS_FILE).remove()


def has_lost_heights(store: StoragePath) -> bool:
    """Return whether the index has placed volumes on an axis whose file is gone."""
    if (store / HEIGHTS_FILE).exists() or not (store / INDEX).exists():
        return False
    with suppress(StoreError):
        return Index(store / INDEX).height_axis != IN_EACH_FIELD_OF_VIEW.sha256
    return False


def require_heights(store: StoragePath) -> None:
    """Refuse to write to a store whose axis was lost: another one would take its place unnoticed.

    Raises:
        StoreError: With the command that fits it again.
    """
    if has_lost_heights(store):
        raise StoreError(
            f"The file {HEIGHTS_FILE} of {store} is missing: the axis of the heights of its "
            "volumes. Copy it again from where the store came from, or fit an axis again, after "
            "which runs on this store may not be resumed: python -m data_prep check "
            f"{store} --repair"
        )


def refit_heights(store: StoragePath) -> None:
    """Fit the axis of heights to the train split as it is now, and place all volumes on it.

    Raises:
        NoStoreError: There is nothing at `store`.
        StoreError: Another command is writing to the store, or a record was changed.
        UsageError: `store` is not a store of this project.
    """
    read_root(store)
    with write_lock(store):
        rebuild_index(store, refit=True)


def index_of(
    records: Iterable[Mapping[str, Any]], axis: HeightAxis = IN_EACH_FIELD_OF_VIEW
) -> bytes:
    """Return the index file of commit records, with heights on an axis; equal in equal out."""
    records = sorted(records, key=lambda record: record["volume"]["name"])
    volumes = [record["volume"] for record in records]
    placements = [placement_of(volume, axis) for volume in volumes]
    columns: dict[str, NDArray[Any]] = {
        name: _texts((v[name] or "").encode("ascii") for v in volumes) for name in TEXTS
    } | {
        "modality": np.array([MODALITIES.index(v["modality"]) for v in volumes], np.uint8),
        "split": np.array([SPLITS.index(v["split"]) for v in volumes], np.uint8),
        "shape": np.array([v["shape"] for v in volumes], np.int32).reshape(-1, 3),
        "source_shape": np.array([v["source_shape"] for v in volumes], np.int32).reshape(-1, 3),
        "affine": np.array([v["affine"] for v in volumes], np.float64).reshape(-1, 4, 4),
        "source_affine": np.array([v["source_affine"] for v in volumes]).reshape(-1, 4, 4),
        "window": np.array([v["window"] for v in volumes], np.float64).reshape(-1, 2),
        "scale": np.array([v["scale"] for v in volumes], np.float64),
        "offset": np.array([v["offset"] for v in volumes], np.float64),
        "bytes": np.array([_size(record) for record in records], np.int64),
        "lowest": np.array([each.lowest for each in placements], np.float64),
        "highest": np.array([each.highest for each in placements], np.float64),
        "outline": np.array([row for v in volumes for row in v["outline"]], np.int32).reshape(
            -1, 3
        ),
    }
    for name in IN_STEPS:
        values = np.array([value for v in volumes for value in v[name]])
        columns[name] = np.rint(values * SLICE_STEPS).astype(np.uint16)
    # A single entry, because safetensors writes several in no fixed order.
    header = seal(_header_of(columns, axis.sha256)).decode()
    return safetensors.numpy.save(columns, metadata={"sealed": header})


def contents_of(volumes: Volumes, axis: HeightAxis) -> str:
    """Return `Store.contents` of a store of these volumes alone, which lie on this axis."""
    columns = volumes.columns()
    columns |= {name: _texts(columns[name].tolist()) for name in TEXTS}
    return contents_hash(_header_of(columns, axis.sha256))


def _header_of(columns: Mapping[str, NDArray[Any]], height_axis: str) -> dict[str, Any]:
    sums = {name: _hash(np.ascontiguousarray(column)) for name, column in columns.items()}
    return {
        "schema": INDEX_SCHEMA,
        "columns": header_of(safetensors.numpy.save(dict(columns))),
        "sha256_of": sums,
        "height_axis": height_axis,
    }


def _texts(values: Iterable[bytes]) -> NDArray[np.uint8]:
    padded = np.array([*values], np.bytes_)
    return padded.view(np.uint8).reshape(len(padded), padded.dtype.itemsize)


def _size(record: Mapping[str, Any]) -> int:
    return sum(file["bytes"] for file in record["files"].values())


def _hash(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()
