"""Slices of a store as arrays, many reads in flight. It knows neither order nor normalisation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

from data_prep.place import kvstore
from data_prep.store import BODY, IMAGE, Store, StoredVolume, damaged


class SliceReader:
    """Reads single slices anywhere in a store.

    A volume is compared with its commit record when it is first used; after that every chunk's own
    checksum guards it. Decoded slices are kept up to `cache_bytes`.
    """

    def __init__(self, store: Store, cache_bytes: int) -> None:
        self._store = store
        self._opened: dict[str, tuple[Any, Any]] = {}
        self._context = tensorstore.Context(
            {"cache_pool": {"total_bytes_limit": cache_bytes}}  # least recently used go first
        )

    def read(
        self, names: Sequence[str], slices: Sequence[int]
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Voxels in stored units and body masks of 0 and 1, both [N, H, W], in the order asked for.

        Raises:
            StoreError: A volume is not what was committed, or a chunk of it is missing or damaged;
                names the volume, the file and the slice.
        """
        arrays = [self._open(name) for name in names]
        # All reads are started before the first is waited for: tensorstore's threads fetch and
        # decode them side by side.
        images = [image[z].read() for (image, _), z in zip(arrays, slices, strict=True)]
        bodies = [body[z].read() for (_, body), z in zip(arrays, slices, strict=True)]
        return self._gather(images, IMAGE, names, slices), self._gather(bodies, BODY, names, slices)

    def _open(self, name: str) -> tuple[Any, Any]:
        if name not in self._opened:
            volume = self._store.volumes.named(name)
            assert volume is not None, name
            self._store.verify(volume)
            self._opened[name] = self._array(volume, IMAGE), self._array(volume, BODY)
        return self._opened[name]

    def _array(self, volume: StoredVolume, array: str) -> Any:
        spec = {
            "driver": "zarr3",
            "kvstore": kvstore(self._store.path / volume.name / array),
            # Committed volumes never change: what is in the cache need not be looked up on disk.
            "recheck_cached_metadata": "open",
            "recheck_cached_data": "open",
            # A lost chunk is an error, never zeros.
            "fill_missing_data_reads": False,
        }
        return tensorstore.open(spec, open=True, read=True, context=self._context).result()

    def _gather(
        self, reads: Sequence[Any], array: str, names: Sequence[str], slices: Sequence[int]
    ) -> NDArray[Any]:
        pixels = []
        for read, name, z in zip(reads, names, slices, strict=True):
            try:
                pixels.append(read.result())
            except ValueError as error:  # what tensorstore makes of all its statuses
                file = f"{name}/{array}/c/0/0/0"
                raise damaged(self._store.path, name, file, f"slice {z}: {error}") from error
        return np.stack(pixels)
