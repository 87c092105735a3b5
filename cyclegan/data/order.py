"""Which slices a sample shows, as a pure function of (seed, index).

A sample's index is step x global batch + shard x shard size + place. Nothing depends on the number
of workers, and nothing is remembered from one step to the next, so resuming is arithmetic. It knows
table rows only, no store and no pixels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cyclegan.config import BatchConfig, DataConfig
from cyclegan.data.philox import Stream, permutation, uniforms
from cyclegan.data.variation import Variation

Ints = NDArray[np.int64]

NEAR = 0.05
"""Partners by position differ by at most this much in relative height ..."""
NEAR_LEAST = 8
"""... unless fewer slices than this are so near: then they are the nearest ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceTable:
    """The slices of one domain that may be shown; N at least 1."""

    volume: Ints
    """[N], number of the volume."""
    slice: Ints
    """[N], z within the volume."""
    height: NDArray[np.float64]
    """[N], 0 at the lowest and 1 at the highest slice of the body."""

    def __len__(self) -> int:
        return len(self.volume)

    @cached_property
    def by_height(self) -> Ints:
        """[N], rows from the lowest slice to the highest."""
        return self.height.argsort(kind="stable")

    @cached_property
    def sorted_height(self) -> NDArray[np.float64]:
        """[N], the heights in the order of `by_height`."""
        return self.height[self.by_height]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slices:
    """N slices of one domain, and how each is varied."""

    volume: Ints
    slice: Ints
    variation: Variation


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """N pairs of an MRI slice and a CT slice."""

    mri: Slices
    ct: Slices


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """The endless sequence of samples of one run.

    Each domain is shown in passes over its whole table, each pass in an order of its own. An epoch
    is one pass of the larger domain; batches run across its end. With `position` the larger domain
    leads (the MRI where they are equal) and its partner is drawn among slices of similar height.
    """

    mri: SliceTable
    ct: SliceTable
    seed: int
    batch: BatchConfig
    partner: Literal["random", "position"]
    augment: DataConfig | None
    """Ranges of the variation; None shows every slice as it is."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that show every slice of the larger domain at least once."""
        return -(-max(len(self.mri), len(self.ct)) // self.batch.global_size)

    def indices(self, step: int, shards: range) -> Ints:
        """The samples of some shards of a step, in the order of the shards."""
        places = np.arange(self.batch.shard_size)
        # [shards, shard_size] -> [shards * shard_size]
        offsets = (np.array(shards)[:, None] * self.batch.shard_size + places).ravel()
        return step * self.batch.global_size + offsets

    def samples(self, indices: Ints) -> Samples:
        """What the samples `indices` show. They should lie close together (`philox.uniforms`)."""
        mri = _shuffled(len(self.mri), self.seed, Stream.MRI_ORDER, indices)
        ct = _shuffled(len(self.ct), self.seed, Stream.CT_ORDER, indices)
        if self.partner == "position":
            u = uniforms(self.seed, Stream.PARTNER, indices, count=1)[:, 0]
            if len(self.mri) >= len(self.ct):
                ct = _near(self.ct, self.mri.height[mri], u)
            else:
                mri = _near(self.mri, self.ct.height[ct], u)
        return Samples(
            mri=self._slices(self.mri, mri, Stream.MRI_VARIATION, indices),
            ct=self._slices(self.ct, ct, Stream.CT_VARIATION, indices),
        )

    def _slices(self, table: SliceTable, rows: Ints, stream: Stream, indices: Ints) -> Slices:
        if self.augment is None:
            variation = Variation.none(len(indices))
        else:
            variation = Variation.draw(self.augment, self.seed, stream, indices)
        return Slices(volume=table.volume[rows], slice=table.slice[rows], variation=variation)


def _shuffled(size: int, seed: int, stream: Stream, indices: Ints) -> Ints:
    """The table row at each index of the passes, one after the other."""
    passes, places = np.divmod(indices, size)
    rows = np.empty_like(indices)
    for epoch in np.unique(passes):
        here = passes == epoch
        rows[here] = permutation(seed, stream, int(epoch), size)[places[here]]
    return rows


def _near(table: SliceTable, height: NDArray[np.float64], u: NDArray[np.float64]) -> Ints:
    """For each height, one of the table rows near to it, chosen by u in [0, 1)."""
    # Volumes of one depth share their heights, so the range is one of heights: by rank, the same
    # few of many equal slices would be drawn again and again, and the others never.
    first = np.searchsorted(table.sorted_height, height - NEAR, side="left")
    last = np.searchsorted(table.sorted_height, height + NEAR, side="right")
    count = np.maximum(last - first, min(NEAR_LEAST, len(table)))
    first = np.clip((first + last) // 2 - count // 2, 0, len(table) - count)
    rows: Ints = table.by_height[first + (u * count).astype(np.int64)]
    return rows
