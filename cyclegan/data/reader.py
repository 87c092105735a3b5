"""Reader of single slices of a store, with many concurrent reads.

Axes: N slices, H rows, W columns.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorstore
from numpy.typing import NDArray

from data_prep.store.companions.group import (
    CT_ARRAY,
    WEIGHT_ARRAY,
    Companion,
    damaged_group,
)
from data_prep.store.store import BODY, IMAGE, Store, StoredVolume, damaged
from mrct.errors import StoreError, UnreachableError
from mrct.storage.paths import StoragePath

OPEN_VOLUMES = 4096
"""Largest number of open volumes, about 33 KB each; the least recently used is closed first."""
TABLE_BYTES = 64 * 2**20
"""Cache for the chunk tables of the shards, enough for 12,000 volumes of 160 slices. Without it
every read would be two. It is separate from the slice cache, whose slices would evict the
tables."""


class SliceRef(NamedTuple):
    """One slice of a volume."""

    volume: StoredVolume
    z: int

    @property
    def name(self) -> str:
        """Name of what the slice is of, unlike all others in a store."""
        return self.volume.name

    @property
    def arrays(self) -> tuple[str, str]:
        """Paths of the image and the body mask in the folder."""
        return IMAGE, BODY

    def folder(self, store: Store) -> StoragePath:
        """Return the folder of both arrays."""
        return store.path / self.name

    def verify(self, store: Store) -> None:
        """Compare the volume with its commit record; raises StoreError if they differ."""
        store.verify(self.volume)

    def damaged(self, store: Store, file: str, found: str) -> StoreError:
        """Return the error for damage of a file in the folder."""
        return damaged(store.path, self.name, f"{self.name}/{file}", found)


class PlaneRef(NamedTuple):
    """One plane of the companions of an MRI, in place of image and body mask its CT and weight."""

    companion: Companion
    z: int
    """Plane of the arrays (`Companion.plane`)."""

    @property
    def name(self) -> str:
        """Name of what the plane is of, unlike all others in a store."""
        return f"{self.companion.key}/{self.companion.mri.name}"

    @property
    def arrays(self) -> tuple[str, str]:
        """Paths of the CT and the weight in the folder."""
        return CT_ARRAY, WEIGHT_ARRAY

    def folder(self, store: Store) -> StoragePath:
        """Return the folder of both arrays."""
        return self.companion.folder

    def verify(self, store: Store) -> None:
        """Compare the files with what was written; raises StoreError if they differ."""
        self.companion.verify()

    def damaged(self, store: Store, file: str, found: str) -> StoreError:
        """Return the error for damage of a file in the folder."""
        return damaged_group(store.path, self.companion.folder, file, found)


Ref = SliceRef | PlaneRef


class _Arrays(NamedTuple):
    """Open arrays of a volume, image and body mask, or of companions, CT and weight."""

    image: Any
    body: Any


class PendingRead:
    """Read in progress; `result` waits for it."""

    def __init__(
        self,
        store: Store,
        refs: Sequence[Ref],
        opened: Sequence[_Arrays | None],
        damage: dict[int, StoreError],
    ) -> None:
        self.damage = damage
        """Errors by the slice's position in `refs`; complete after `result`."""
        self._store, self._refs, self._opened = store, refs, opened
        self._found = [position for position, arrays in enumerate(opened) if arrays is not None]
        # All slices are requested at once: tensorstore's threads fetch and decode them in parallel.
        self._reads = {array: self._read(array) for array in (IMAGE, BODY)}

    def _read(self, array: str) -> Any:
        slices = [self._slice(position, array) for position in self._found]
        return tensorstore.stack(slices).read() if slices else None

    def _slice(self, position: int, array: str) -> Any:
        arrays = self._opened[position]
        assert arrays is not None
        return (arrays.image if array == IMAGE else arrays.body)[self._refs[position].z]

    def result(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return voxels in stored units and body masks of 0 and 1, both [N, H, W].

        Of companions it is HU and weights instead.

        Slices that are in `damage` afterwards are zeros, which must not be used.
        """
        return self._gather(IMAGE, np.int16), self._gather(BODY, np.uint8)

    def whole(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return the same as `result`, but raise if any slice is damaged.

        Raises:
            UnreachableError: The store cannot be reached, which is no damage.
            StoreError: A volume differs from its commit record, or a chunk of it is missing or
                damaged; the message names the volume, the file and the slice.
        """
        voxels, body = self.result()
        for position in sorted(self.damage):
            raise self.damage[position]
        return voxels, body

    def _gather(self, array: str, dtype: type) -> NDArray[Any]:
        if len(self._found) == len(self._refs):
            try:
                return np.asarray(self._reads[array].result())
            except ValueError:  # tensorstore raises it for every error status
                pass
        # Some slice is damaged: read them one by one to find it. That is rare, so it may be slow.
        pixels: NDArray[Any] = np.zeros((len(self._refs), *self._store.size), dtype)
        for position in self._found:
            try:
                pixels[position] = self._slice(position, array).read().result()
            except ValueError as error:
                ref = self._refs[position]
                file = f"{ref.arrays[array == BODY]}/c/0/0/0"
                found = ref.damaged(self._store, file, f"slice {ref.z}: {error}")
                if isinstance(found, UnreachableError):
                    raise found from error
                self.damage.setdefault(position, found)
        return pixels


class SliceReader:
    """Reader of single slices anywhere in a store.

    A volume is compared with its commit record on first use; later reads verify the checksum of
    each chunk. Memory is bounded for any number of volumes: decoded slices are cached up to
    `cache_bytes`, and at most OPEN_VOLUMES volumes are open.

    Args:
        store: Store with the volumes.
        cache_bytes: Size of the cache of decoded slices in bytes; 0 keeps none.
    """

    def __init__(self, store: Store, cache_bytes: int) -> None:
        self._store = store
        self._verified: set[str] = set()
        self._opened: OrderedDict[str, _Arrays] = OrderedDict()
        # The least recently used volume comes first.
        self._context = tensorstore.Context(
            {
                "cache_pool": {"total_bytes_limit": cache_bytes},
                "cache_pool#tables": {"total_bytes_limit": TABLE_BYTES},
            }
        )

    def start(
        self, refs: Sequence[Ref], heartbeat: Callable[[], None] = lambda: None
    ) -> PendingRead:
        """Start reading slices, without waiting for their pixels.

        Volumes used for the first time are verified and opened before this returns.

        Args:
            refs: Slices to read.
            heartbeat: Called before each slice.

        Raises:
            UnreachableError: The store cannot be reached, which is no damage.
        """
        opened: list[_Arrays | None] = []
        damage: dict[int, StoreError] = {}
        for position, ref in enumerate(refs):
            heartbeat()
            try:
                opened.append(self._open(ref))
            except UnreachableError:
                raise
            except StoreError as error:
                opened.append(None)
                damage[position] = error
        return PendingRead(self._store, refs, opened, damage)

    def _open(self, ref: Ref) -> _Arrays:
        name = ref.name
        if name in self._opened:
            self._opened.move_to_end(name)
            return self._opened[name]
        if name not in self._verified:
            ref.verify(self._store)
            self._verified.add(name)
        arrays = _Arrays(*(self._array(ref, array) for array in ref.arrays))
        self._opened[name] = arrays
        if len(self._opened) > OPEN_VOLUMES:
            self._opened.popitem(last=False)
        return arrays

    def _array(self, ref: Ref, array: str) -> Any:
        spec = {
            "driver": "zarr3",
            "kvstore": (ref.folder(self._store) / array).kvstore(),
            "metadata_cache_pool": "cache_pool#tables",
            # Committed volumes never change, so cached data need not be revalidated.
            "recheck_cached_metadata": "open",
            "recheck_cached_data": "open",
            # A lost chunk is an error, never zeros.
            "fill_missing_data_reads": False,
        }
        try:
            return tensorstore.open(spec, open=True, read=True, context=self._context).result()
        except ValueError as error:  # the volume was closed, and deleted since
            raise ref.damaged(self._store, f"{array}/zarr.json", str(error)) from error
