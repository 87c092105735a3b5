"""Companions of the train MRIs of a run, and those that go with the slices of a step.

A companion is a CT on the grid of an MRI: that of the same person, or another one warped onto it
(`data_prep.store.companions`). Axes: N samples, H rows, W columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from cyclegan.data.philox import Stream, uniforms
from cyclegan.data.reader import PendingRead, PlaneRef, SliceReader
from cyclegan.data.slice_index import Ints
from cyclegan.data.stored_slices import StoredCompanions
from cyclegan.errors import DataError
from data_prep.store.companions.cache import open_companions
from data_prep.store.companions.group import TRUSTED, Companion, key_of
from data_prep.store.store import Store
from mrct.imaging.hounsfield import AIR_HU

PAIRED_FROM = {"kind": "paired", "version": 1}
"""What the companions of true pairs are made from, beside their volumes."""
PAIRED_KEY = key_of(PAIRED_FROM)
TRUST_CHANNELS = ("paired", "warped")
"""In the order of the channels of their trust."""


def companions_of(store: Store, config: DataConfig) -> dict[str, Companion]:
    """Return the companions that a run trains on, by the name of their MRI.

    An MRI of a true pair has no other. Pairs below `data.min_pair_overlap` are left out.

    Args:
        store: Store with the volumes of the run.
        config: Whether pairs are used, and the key of the warped CTs.

    Raises:
        DataError: A companion is, or was made of, a volume outside of the train split.
        StoreError: The facts of some were changed.
    """
    found: dict[str, Companion] = {}
    if config.companions:
        found |= open_companions(store.path, config.companions).by_mri
    if config.use_pairs:
        pairs = open_companions(store.path, PAIRED_KEY).by_mri
        least = config.min_pair_overlap
        found |= {name: each for name, each in pairs.items() if each.quality[0] >= least}
    train = {name: each for name, each in found.items() if _is_in_train(store, name)}
    for each in train.values():
        for ct in each.cts:
            if not _is_in_train(store, ct.name):
                raise DataError(
                    f"A companion of {each.mri.name} in {store.path} is made of {ct.name}, which "
                    "is not in the train split of this run. A network must not learn from a CT "
                    "that it is judged on. Delete the folder of the companions, "
                    f"{each.folder.parent}, and make them again."
                )
    return train


def _is_in_train(store: Store, name: str) -> bool:
    volume = store.volumes.named(name)
    return volume is not None and volume.split == "train"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PendingCompanions:
    """Companions that are being read from the store."""

    having: Ints
    """[M], which of the N samples have one."""
    reading: PendingRead | None
    """None if no sample has one."""
    scale: NDArray[np.float32]
    """[N, 2], see `StoredCompanions`."""


class CompanionSource:
    """Source of one companion for each MRI slice; which of several is a function of its sample.

    Args:
        companions: Companions by the name of their MRI.
        seed: Seed of the run.
        reader: Reader of the store.
        size_yx: Height and width of a slice in pixels.
    """

    def __init__(
        self,
        companions: Mapping[str, Companion],
        seed: int,
        reader: SliceReader,
        size_yx: tuple[int, int],
    ) -> None:
        self._companions, self._seed = companions, seed
        self._reader, self._size = reader, size_yx

    def start(
        self, indices: Ints, slices: Sequence[tuple[str, int]], heartbeat: Callable[[], None]
    ) -> PendingCompanions:
        """Start reading companions, without waiting for them.

        Args:
            indices: [N], indices of the samples.
            slices: N MRI slices: the name of the volume, and z.
            heartbeat: Called before each slice.
        """
        drawn = uniforms(self._seed, Stream.COMPANION, indices, count=1)[:, 0]
        scale = np.zeros((len(indices), len(TRUST_CHANNELS)), np.float32)
        having: list[int] = []
        refs: list[PlaneRef] = []
        for position, ((name, z), u) in enumerate(zip(slices, drawn.tolist(), strict=True)):
            companion = self._companions.get(name)
            if companion is not None:
                count = len(companion.cts)
                refs.append(PlaneRef(companion, companion.plane(z, int(u * count))))
                having.append(position)
                # The weights of all companions of a voxel sum to TRUSTED.
                scale[position, TRUST_CHANNELS.index(companion.kind)] = count / TRUSTED
        reading = self._reader.start(refs, heartbeat) if refs else None
        return PendingCompanions(having=np.array(having, np.int64), reading=reading, scale=scale)

    def finish(self, pending: PendingCompanions) -> StoredCompanions:
        """Wait for the companions of `start`.

        Raises:
            StoreError: One of them is damaged.
        """
        shape = (len(pending.scale), 1, *self._size)
        hu = np.full(shape, AIR_HU, np.int16)
        weight = np.zeros(shape, np.uint8)
        if pending.reading is not None:
            hu[pending.having, 0], weight[pending.having, 0] = pending.reading.whole()
        return StoredCompanions(hu=hu, weight=weight, scale=pending.scale)
