"""Which slices a sample shows, as a pure function of (seed, index).

A sample's index is step x global batch + shard x shard size + place. Nothing depends on the number
of workers, and nothing is remembered from one step to the next, so resuming is arithmetic. A sample
costs the same among ten slices and ten million. It knows table rows only, no store and no pixels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import BatchConfig, DataConfig
from cyclegan.data.augmentation import Variation
from cyclegan.data.philox import Stream, shuffled, uniforms
from cyclegan.data.slice_index import Ints, SliceTable
from mrct.imaging.volume import Modality

NEAR = 0.05
"""Partners by position differ by at most this much in relative height ..."""
CANDIDATES = 64
"""... unless none of so many slices drawn at random is so near: then it is the nearest of them."""
FEW = 16
"""Candidates looked at first: four of five partners are among them."""
ATTEMPTS = 8
"""Slices tried in the place of a damaged one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slices:
    """N slices of one domain, and how each is varied."""

    index: Ints
    """[N], the samples they belong to."""
    row: Ints
    """[N], where they stand in the domain's table."""
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
            u = uniforms(self.seed, Stream.PARTNER, indices, count=CANDIDATES)
            if len(self.mri) >= len(self.ct):
                ct = _near(self.ct, self.mri.heights(mri), u)
            else:
                mri = _near(self.mri, self.ct.heights(ct), u)
        return Samples(
            mri=self._slices(self.mri, mri, Stream.MRI_VARIATION, indices),
            ct=self._slices(self.ct, ct, Stream.CT_VARIATION, indices),
        )

    def substitutes(self, modality: Modality, indices: Ints, rows: Ints, attempt: int) -> Ints:
        """The rows that stand in for damaged `rows` of the samples `indices`: of similar height.

        They depend on (index, attempt) alone, as all else does: a resumed run draws them again.
        """
        table = self.mri if modality == "mri" else self.ct
        stream = Stream.MRI_SUBSTITUTE if modality == "mri" else Stream.CT_SUBSTITUTE
        counters = indices * ATTEMPTS + attempt
        u = [uniforms(self.seed, stream, np.array([c]), CANDIDATES)[0] for c in counters]
        return _near(table, table.heights(rows), np.stack(u))

    def _slices(self, table: SliceTable, rows: Ints, stream: Stream, indices: Ints) -> Slices:
        if self.augment is None:
            variation = Variation.none(len(indices))
        else:
            variation = Variation.draw(self.augment, self.seed, stream, indices)
        return Slices(index=indices, row=rows, variation=variation)


def _shuffled(size: int, seed: int, stream: Stream, indices: Ints) -> Ints:
    """The table row at each index of the passes, one after the other."""
    passes, places = np.divmod(indices, size)
    rows = np.empty_like(indices)
    for epoch in np.unique(passes):
        here = passes == epoch
        rows[here] = shuffled(seed, stream, int(epoch), size, places[here])
    return rows


def _near(table: SliceTable, height: NDArray[np.float32], u: NDArray[np.float64]) -> Ints:
    """For each height, the first near to it of the table rows that u [N, candidates] draws."""
    candidates = (u * len(table)).astype(np.int64)
    rows, left = np.empty(len(height), np.int64), np.arange(len(height))
    for count in (FEW, u.shape[1]):
        some = candidates[left, :count]
        distance = np.abs(table.heights(some) - height[left, None])
        near = distance <= NEAR
        found = near.any(axis=1)
        first = np.where(found, near.argmax(axis=1), distance.argmin(axis=1))
        rows[left] = some[np.arange(len(some)), first]
        left = left[~found]
    return rows
