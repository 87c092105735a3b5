"""Sampler: the slices of each sample, as a pure function of (seed, index).

A sample's index is step x global batch + shard x shard size + position. Nothing depends on the
number of workers, and no state is kept between steps, so resuming is arithmetic. The cost of a
sample does not depend on the number of slices.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cyclegan.config.config import BatchConfig, DataConfig
from cyclegan.data.augmentation import Augmentation
from cyclegan.data.philox import Stream, permute_in_passes, uniforms
from cyclegan.data.slice_index import Ints, SliceTable, SomeRows
from mrct.imaging.modality import Modality

CANDIDATES = 64
"""Random slices that a partner or a substitute is chosen from (`SliceTable.near`)."""
ATTEMPTS = 8
"""Replacements tried for a damaged slice."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slices:
    """N slices of one domain, and the augmentation of each."""

    index: Ints
    """[N], indices of the samples."""
    row: Ints
    """[N], rows in the domain's table."""
    augmentation: Augmentation


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """N pairs of an MRI slice and a CT slice."""

    mri: Slices
    ct: Slices


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """The endless sequence of samples of one run.

    Each domain is sampled in passes over its whole table, each pass in a different order. An epoch
    is one pass over the larger domain; batches may span its end. With `position`, the slices of the
    larger domain (the MRI if both are equal) are sampled this way, and their partners are drawn
    among slices of similar height.
    """

    mri: SliceTable
    """Usable MRI slices."""
    ct: SliceTable
    """Usable CT slices."""
    seed: int
    """Seed of the run."""
    batch: BatchConfig
    """Number and size of the shards."""
    partner: Literal["random", "position"]
    """Choice of the partner, see `DataConfig`."""
    augment: DataConfig | None
    """Ranges of the augmentation; None disables it."""
    paired: SomeRows | None = None
    """MRI slices of true pairs, which `paired_share` of the samples show; None without."""
    paired_share: float = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the larger domain, rounded up."""
        return -(-max(len(self.mri), len(self.ct)) // self.batch.global_size)

    def indices(self, step: int, shards: range) -> Ints:
        """Return the indices of a step's samples, in the order of the shards.

        Args:
            step: Optimizer step, counted from 0.
            shards: Logical shards, each in [0, `batch.shards`).

        Returns:
            [len(shards) x `batch.shard_size`].
        """
        positions = np.arange(self.batch.shard_size)
        # [shards, shard_size] -> [shards * shard_size]
        offsets = (np.array(shards)[:, None] * self.batch.shard_size + positions).ravel()
        return step * self.batch.global_size + offsets

    def samples(self, indices: Ints) -> Samples:
        """Return the slices of some samples.

        Args:
            indices: [N], indices of the samples, which should be close together
                (`philox.uniforms`).
        """
        mri = permute_in_passes(self.seed, Stream.MRI_ORDER, len(self.mri), indices)
        ct = permute_in_passes(self.seed, Stream.CT_ORDER, len(self.ct), indices)
        if self.partner == "position":
            u = uniforms(self.seed, Stream.PARTNER, indices, count=CANDIDATES)
            if len(self.mri) >= len(self.ct):
                ct = self.ct.near(self.mri.heights(mri), u)
            else:
                mri = self.mri.near(self.ct.heights(ct), u)
        if self.paired:
            u = uniforms(self.seed, Stream.PAIRED, indices, count=1)
            chosen = u[:, 0] < self.paired_share
            order = permute_in_passes(self.seed, Stream.PAIRED_ORDER, len(self.paired), indices)
            mri = np.where(chosen, self.paired.rows(order), mri)
            if self.partner == "position" and chosen.any():
                u = uniforms(self.seed, Stream.PARTNER, indices, count=CANDIDATES)
                ct[chosen] = self.ct.near(self.mri.heights(mri[chosen]), u[chosen])
        return Samples(
            mri=self._slices(self.mri, mri, Stream.MRI_VARIATION, indices),
            ct=self._slices(self.ct, ct, Stream.CT_VARIATION, indices),
        )

    def substitutes(self, modality: Modality, indices: Ints, rows: Ints, attempt: int) -> Ints:
        """Return replacements, of similar height, for damaged slices.

        They depend on (index, attempt) alone, so a resumed run draws the same ones.

        Args:
            modality: Domain of the slices.
            indices: [N], indices of the samples.
            rows: [N], rows of the damaged slices.
            attempt: Number of earlier replacements that were damaged too, below ATTEMPTS.

        Returns:
            [N], rows of the replacements.
        """
        table = self.mri if modality == "mri" else self.ct
        stream = Stream.MRI_SUBSTITUTE if modality == "mri" else Stream.CT_SUBSTITUTE
        counters = indices * ATTEMPTS + attempt
        u = [uniforms(self.seed, stream, np.array([c]), CANDIDATES)[0] for c in counters]
        return table.near(table.heights(rows), np.stack(u))

    def _slices(self, table: SliceTable, rows: Ints, stream: Stream, indices: Ints) -> Slices:
        if self.augment is None:
            augmentation = Augmentation.none(len(indices))
        else:
            augmentation = Augmentation.draw(self.augment, self.seed, stream, indices)
        return Slices(index=indices, row=rows, augmentation=augmentation)
