"""The contract of the Zarr store: its layout, and opening and reading it.

    zarr.json                     root group: schema, spacing, size, preprocessing and fingerprint
    index.safetensors             every volume in brief, rebuilt from the commit records
    splits.json                   the split of every subject that ever was in the store
    commits/<modality>-<p>.json   commit record: a volume exists once this does; written last
    <modality>/<p>/               OME-Zarr 0.5 image of one volume, p its pseudonym
        0                         int16 [z, y, x], chunks (1, Y, X), one shard
        labels/body/0             uint8 body mask, chunked alike

A store lies in a local folder or under a URL. `writer.py` fills it; networks and normalised values
are unknown here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import Split
from data_prep.preprocess.spec import Recipe
from data_prep.store.commits import BODY, COMMITS, IMAGE, commit_path, damaged, verify
from data_prep.store.index import INDEX, Index, Volumes
from data_prep.store.stored_volume import StoredVolume
from data_prep.store.zarr_codec import METADATA, SHARD, decode
from mrct.errors import NoStoreError, StoreError, UsageError
from mrct.imaging.volume import Modality
from mrct.storage.local_path import sha256_of
from mrct.storage.paths import StoragePath

__all__ = ["BODY", "IMAGE", "Store", "StoredVolume", "damaged", "open_store", "sha256_of"]

STORE_SCHEMA = 2
ATTRIBUTE = "mri_ct_store"
"""The root group's attribute that makes a Zarr group one of our stores."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Store:
    """An open store: what its index says, and whole volumes on demand."""

    path: StoragePath
    spacing_mm: tuple[float, float, float]
    """(z, y, x) of every volume."""
    size: tuple[int, int]
    """(Y, X) of every slice."""
    fingerprint: str
    """Hash of the preprocessing: stores may be compared or joined only where it is equal."""
    recipe: Recipe
    """How its volumes were made, for inference to do the same."""
    contents: str
    """Hash of the index: equal where the volumes and their splits are."""
    volumes: Volumes = field(repr=False)
    """All of them, by name."""

    def select(self, modality: Modality, split: Split) -> Volumes:
        """The volumes of one domain and split, in the index's order (by name)."""
        return self.volumes.select(modality, split)

    def partner(self, volume: StoredVolume) -> StoredVolume | None:
        """The aligned volume of the other modality, on the same grid; None where there is none.

        Raises:
            StoreError: It lies on another grid.
        """
        other = self.volumes.named(volume.link) if volume.link else None
        if other and (
            other.shape != volume.shape or not np.array_equal(other.affine, volume.affine)
        ):
            records = " and ".join(commit_path(self.path, v.name).name for v in (volume, other))
            raise StoreError(
                f"{volume.name} and {other.name} of {self.path} are linked as a pair, but lie on "
                f"different grids, so their voxels show different places. Remove {records} from "
                f"its {COMMITS} and run the same convert again."
            )
        return other

    def voxels(self, volume: StoredVolume) -> NDArray[np.int16]:
        """All voxels [z, y, x], in HU or stored MRI units, after `verify`."""
        return self._read(volume, IMAGE)

    def body(self, volume: StoredVolume) -> NDArray[np.uint8]:
        """The body mask [z, y, x], 0 or 1, after `verify`."""
        return self._read(volume, BODY)

    def _read(self, volume: StoredVolume, array: str) -> NDArray[Any]:
        self.verify(volume)
        folder = self.path / volume.name / array
        try:
            return decode(folder.read_files([METADATA, SHARD]))
        except (ValueError, FileNotFoundError) as error:  # a checksum; lost since `verify`
            shard = f"{volume.name}/{array}/{SHARD}"
            raise damaged(self.path, volume.name, shard, str(error)) from error

    def verify(self, volume: StoredVolume, full: bool = False) -> None:
        """Compare a volume's files with its commit record; see `commit.verify`."""
        verify(self.path, volume.name, full=full)


def open_store(path: StoragePath) -> Store:
    """Open a store by its root attributes and its index's header, however many volumes it has.

    Raises StoreError where nothing is there, where the index is missing or damaged, or where the
    schema is not ours to read, and UsageError where the folder is something else.
    """
    root = read_root(path)
    if not (path / INDEX).exists():
        raise StoreError(
            f"The store {path} has no index: its conversion was not finished. "
            f"Run the same `python -m data_prep convert ... --out {path}` again; it goes on "
            f"where it stopped. Or take it as it is: `python -m data_prep check {path} --repair`."
        )
    index = Index(path / INDEX)
    return Store(
        path=path,
        spacing_mm=tuple(root["spacing_mm"]),
        size=tuple(root["size"]),
        fingerprint=root["fingerprint"],
        recipe=Recipe.of_root(root),
        contents=index.contents,
        volumes=Volumes(index),
    )


def read_root(path: StoragePath) -> dict[str, Any]:
    """The root attributes of a store, its schema checked."""
    with path.reached():
        exists = path.exists()
    if not exists:
        raise NoStoreError(
            f"There is no store at {path}. Make one from your volumes:\n"
            f"  python -m data_prep convert --mri DIR --ct DIR --out {path}"
        )
    try:
        attributes = json.loads((path / METADATA).read_bytes())["attributes"]
        root: dict[str, Any] = attributes[ATTRIBUTE]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a store of this project: its zarr.json is missing, damaged or without "
            f"the attribute {ATTRIBUTE}. Give a folder that `python -m data_prep convert` made."
        ) from error
    if root.get("schema") != STORE_SCHEMA:
        raise StoreError(
            f"The store {path} has schema {root.get('schema')}; this version reads {STORE_SCHEMA} "
            "and would misread another. Convert again, or use the version that wrote it."
        )
    if root.get("fingerprint") != fingerprint_of(root):
        raise StoreError(
            f"{path / METADATA} was changed after it was written: its spacing, size or settings do "
            "not fit their fingerprint, and every volume would be misread by it. Copy this file "
            "again from where the store came from, or convert anew into another --out."
        )
    return root


def fingerprint_of(root: Mapping[str, Any]) -> str:
    """The hash of all root attributes that decide voxels: schema, spacing, size, settings."""
    decisive = {name: root.get(name) for name in ("schema", "spacing_mm", "size", "settings")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
