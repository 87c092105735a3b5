"""Opens and reads the Zarr store.

Its layout:

    zarr.json                     root group: schema, spacing, size, preprocessing and fingerprint
    index.safetensors             facts of all volumes, rebuilt from the commit records
    heights.json                  the axis of its heights, once a conversion has ended
    splits.json                   the split of every subject that was ever in the store
    removed.json                  the subjects that were removed and must not come back
    history/<contents>.json       the volumes of each earlier index
    commits/<modality>-<p>.json   commit record: a volume exists once this does; written last
    <modality>/<p>/               OME-Zarr 0.5 image of one volume, p its pseudonym
        0                         int16 [z, y, x], chunks (1, Y, X), one shard
        labels/body/0             uint8 body mask, chunked alike
        labels/score/0            uint8 mask given with the volume, if one was
    companions/<key>/mri-<p>/     CTs that were warped onto an MRI, if any: companions/group.py

A store is in a local folder or at a URL. `writer.py` fills it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import Split
from data_prep.preprocess.height_axis import HeightAxis
from data_prep.preprocess.spec import VERSION, PreprocessingSpec
from data_prep.store.commits import (
    BODY,
    COMMITS,
    IMAGE,
    SCORE,
    commit_path,
    damaged,
    has_score_mask,
    read_commit,
    verify_files,
    volume_path,
)
from data_prep.store.heights import PlacedVolumes, axis_of_index
from data_prep.store.index import INDEX, Index, Volumes
from data_prep.store.stored_volume import StoredVolume
from data_prep.store.zarr_codec import ATTRIBUTE, METADATA, SHARD, decode
from mrct.errors import NoStoreError, StoreError, UsageError
from mrct.imaging.modality import Modality
from mrct.storage.json_text import parse_json
from mrct.storage.local_path import sha256_of
from mrct.storage.paths import StoragePath

__all__ = ["BODY", "IMAGE", "Store", "StoredVolume", "damaged", "open_store", "sha256_of"]

STORE_SCHEMA = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Store:
    """An open store: its facts, and voxels and body masks of its volumes on demand.

    Examples:
        >>> from mrct.storage.paths import storage_path
        >>> store = open_store(storage_path("brain.zarr"))
        >>> for volume in store.select("ct", "train"):
        ...     hu, body = store.voxels(volume), store.body(volume)  # both [z, y, x]
        ...     mean_hu = hu[body == 1].mean()
    """

    path: StoragePath
    """Local folder or URL."""
    spacing_mm: tuple[float, float, float]
    """Voxel size along (z, y, x) of every volume, in mm."""
    size: tuple[int, int]
    """Rows and columns (Y, X) of every slice, in voxels."""
    fingerprint: str
    """Hash of the preprocessing: stores may be compared or joined only if it is equal."""
    preprocessing: PreprocessingSpec
    """Preprocessing settings of its volumes, which inference must repeat."""
    contents: str
    """Hash of the index: equal if the volumes and their splits are equal."""
    axis: HeightAxis = field(repr=False)
    """The axis of the heights of its volumes."""
    volumes: Volumes = field(repr=False)
    """All volumes, sorted by name."""

    def on(self, axis: HeightAxis) -> "Store":
        """Return the store with its heights on the axis of another cohort; not for training."""
        return replace(self, axis=axis, volumes=PlacedVolumes(self.volumes, axis))

    def select(self, modality: Modality, split: Split) -> Volumes:
        """Return the volumes of one domain and split, sorted by name.

        Args:
            modality: "mri" or "ct".
            split: "train", "val" or "test".
        """
        return self.volumes.select(modality, split)

    def partner(self, volume: StoredVolume) -> StoredVolume | None:
        """Return the aligned volume of the other modality, on the same grid.

        Args:
            volume: A volume of this store.

        Returns:
            The linked volume, or None if `volume` has none.

        Raises:
            StoreError: The linked volume lies on another grid.
        """
        other = self.volumes.named(volume.link) if volume.link else None
        if other and (
            other.shape != volume.shape or not np.array_equal(other.affine, volume.affine)
        ):
            records = " and ".join(commit_path(self.path, v.name).name for v in (volume, other))
            raise StoreError(
                f"The volumes {volume.name} and {other.name} of {self.path} are linked as a pair, "
                "but lie on different grids, so their voxels show different positions. Remove "
                f"{records} from its folder {COMMITS} and run the same convert again."
            )
        return other

    def voxels(self, volume: StoredVolume) -> NDArray[np.int16]:
        """Verify and read all voxels of a volume.

        Args:
            volume: A volume of this store.

        Returns:
            int16 [z, y, x]. CT voxels are HU within WINDOW_HU; MRI voxels are values above
            `volume.offset`, divided by `volume.scale`.

        Raises:
            StoreError: A file of the volume is missing or damaged; UnreachableError if the store is
                away.
        """
        return self._read(volume, IMAGE)

    def body(self, volume: StoredVolume) -> NDArray[np.uint8]:
        """Verify and read the body mask of a volume.

        Args:
            volume: A volume of this store.

        Returns:
            uint8 [z, y, x], 1 inside the body and 0 outside.

        Raises:
            StoreError: A file of the volume is missing or damaged; UnreachableError if the store is
                away.
        """
        return self._read(volume, BODY)

    def score_mask(self, volume: StoredVolume) -> NDArray[np.uint8]:
        """Verify and read the mask outside which no score of a volume counts.

        Args:
            volume: A volume of this store.

        Returns:
            uint8 [z, y, x]: the mask that the data set gives; the body mask if it gives none.

        Raises:
            StoreError: A file of the volume is missing or damaged; UnreachableError if the store is
                away.
        """
        is_given = has_score_mask(read_commit(self.path, volume.name)["files"])
        return self._read(volume, SCORE if is_given else BODY)

    def _read(self, volume: StoredVolume, array: str) -> NDArray[Any]:
        expected = verify_files(self.path, volume.name)[f"{array}/{SHARD}"]["sha256"]
        folder = volume_path(self.path, volume.name) / array
        try:
            files = folder.read_files([METADATA, SHARD])
            if hashlib.sha256(files[SHARD]).hexdigest() != expected:
                raise ValueError("its SHA-256 differs")
            return decode(files)
        except (ValueError, FileNotFoundError) as error:  # a checksum; lost since `verify_files`
            shard = f"{volume.name}/{array}/{SHARD}"
            raise damaged(self.path, volume.name, shard, str(error)) from error

    def verify(self, volume: StoredVolume, full: bool = False) -> None:
        """Compare a volume's files with its commit record.

        Args:
            volume: A volume of this store.
            full: Also read and hash every byte; otherwise names, sizes and metadata only.

        Raises:
            StoreError: A file differs; the message names it and the command that repairs it.
        """
        verify_files(self.path, volume.name, full=full)


def open_store(path: StoragePath) -> Store:
    """Open a store.

    Reads only the root attributes, the axis of heights and the header of the index, so the time
    does not depend on the number of volumes.

    Args:
        path: Local folder or URL of the store, as from `storage_path`.

    Returns:
        The open store; its volumes are read on demand.

    Raises:
        NoStoreError: There is nothing at `path`.
        StoreError: The index or the axis of heights is missing or damaged, or the schema or the
            preprocessing is of another version.
        UsageError: `path` is not a store of this project.

    Examples:
        >>> from mrct.storage.paths import storage_path
        >>> store = open_store(storage_path("brain.zarr"))
        >>> store.spacing_mm  # (z, y, x)
        (3.0, 2.0, 2.0)
    """
    root = read_root(path)
    if not (path / INDEX).exists():
        raise StoreError(
            f"The store {path} has no {INDEX}: its conversion was not finished. "
            f"Run the same `python -m data_prep convert ... --out {path}` again to resume it, or "
            f"use the store as it is after `python -m data_prep check {path} --repair`."
        )
    preprocessing = PreprocessingSpec.of_root(root)
    if preprocessing.version != VERSION:
        raise StoreError(
            f"The store {path} was made by preprocessing {preprocessing.version}, and this version "
            f"is {VERSION}: new scans would not look as its volumes do. Convert again with the "
            "command that made it, and a new --out: python -m data_prep convert ... --out NEW.zarr"
        )
    index = Index(path / INDEX)
    return Store(
        path=path,
        spacing_mm=tuple(root["spacing_mm"]),
        size=tuple(root["size"]),
        fingerprint=root["fingerprint"],
        preprocessing=preprocessing,
        contents=index.contents,
        axis=axis_of_index(path, index.height_axis),
        volumes=Volumes(index),
    )


def read_root(path: StoragePath) -> dict[str, Any]:
    """Return the root attributes of a store, after checking schema and fingerprint.

    Args:
        path: Local folder or URL of the store.

    Returns:
        `schema`, `spacing_mm` (z, y, x), `size` (Y, X), `settings` of the preprocessing, its
        `fingerprint`, and `key_check` of the pseudonyms.

    Raises:
        NoStoreError: There is nothing at `path`.
        StoreError: The schema is of another version, or the attributes were changed.
        UsageError: `path` is not a store of this project.
    """
    with path.reached():
        exists = path.exists()
    if not exists:
        raise NoStoreError(
            f"There is no store at {path}. Create one from your volumes:\n"
            f"  python -m data_prep convert --mri DIR --ct DIR --out {path}"
        )
    try:
        attributes = parse_json((path / METADATA).read_bytes())["attributes"]
        root: dict[str, Any] = dict(attributes[ATTRIBUTE])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a store of this project: its zarr.json is missing, damaged or without "
            f"the attribute {ATTRIBUTE}. Give a store written by `python -m data_prep convert`."
        ) from error
    if root.get("schema") != STORE_SCHEMA:
        raise StoreError(
            f"The store {path} has schema {root.get('schema')}, and this version reads "
            f"{STORE_SCHEMA}; convert again with the command that made it, and a new --out: "
            "python -m data_prep convert ... --out NEW.zarr"
        )
    if root.get("fingerprint") != fingerprint_of(root):
        raise StoreError(
            f"The file {path / METADATA} was changed after it was written: its spacing, size or "
            "settings do not match their fingerprint, and every volume would be misread. Copy "
            "this file again from where the store came from, or convert into another --out."
        )
    return root


def fingerprint_of(root: Mapping[str, Any]) -> str:
    """Return the hash, 16 hexadecimal digits, of the root attributes that determine the voxels."""
    decisive = {name: root.get(name) for name in ("schema", "spacing_mm", "size", "settings")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
