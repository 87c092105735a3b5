"""What a contrast table is fitted to: counts of voxels by position, of any part of a cohort.

All are whole numbers, so the parts add up to the same whole in any order and on any machine.

Axes: P positions, H bins of HU, M bins of the MRI, F folds of volumes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from cyclegan.atlas.positions import NUM_POSITIONS, count_by_position, positions_of
from cyclegan.atlas.scans import Scan
from cyclegan.contrast.likelihood import NUM_FOLDS
from cyclegan.contrast.random_field import NeighbourCounts
from cyclegan.contrast.value_bins import NUM_HU_BINS, hu_bins, mri_bins
from cyclegan.nets.guide import NUM_MRI_BINS
from cyclegan.nets.input_channels import PixelSize


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CtCounts:
    """Of CTs."""

    voxels: csr_array
    """[P, H], by position and bin of HU."""
    sums_hu: Int[np.ndarray, " H"]
    """Sum of the HU in each bin."""
    neighbours: NeighbourCounts
    spacing_yx_mm: PixelSize
    """Size of a pixel of all of them."""

    @classmethod
    def of(cls, scan: Scan) -> "CtCounts":
        """Count a CT."""
        hu, body, height, spacing_yx_mm = scan
        inside = np.rint(hu[body.astype(bool)]).astype(np.int64)
        bins, positions = hu_bins(inside), positions_of(body, height, spacing_yx_mm)
        sums = np.bincount(bins, inside, minlength=NUM_HU_BINS)  # exact below 2^53
        return cls(
            voxels=csr_array(count_by_position(positions, bins, NUM_HU_BINS)),
            sums_hu=sums.astype(np.int64),
            neighbours=NeighbourCounts.of(
                body, bins, positions, num_bins=NUM_HU_BINS, num_positions=NUM_POSITIONS
            ),
            spacing_yx_mm=spacing_yx_mm,
        )

    def __add__(self, other: "CtCounts") -> "CtCounts":
        return CtCounts(
            voxels=self.voxels + other.voxels,
            sums_hu=self.sums_hu + other.sums_hu,
            neighbours=self.neighbours + other.neighbours,
            spacing_yx_mm=self.spacing_yx_mm,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MriCounts:
    """Of MRIs."""

    voxels: csr_array
    """[F x P, M], by fold, position and bin of the MRI."""

    @classmethod
    def of(cls, scan: Scan, fold: int) -> "MriCounts":
        """Count an MRI.

        Raises:
            DataError: Half of its body is background.
        """
        counts = csr_array(count_of_mri(scan))
        before, after = fold * NUM_POSITIONS, (NUM_FOLDS - fold - 1) * NUM_POSITIONS
        starts = np.pad(counts.indptr, (before, 0))
        starts = np.pad(starts, (0, after), mode="edge")
        shape = (NUM_FOLDS * NUM_POSITIONS, NUM_MRI_BINS)
        return cls(voxels=csr_array((counts.data, counts.indices, starts), shape=shape))

    def __add__(self, other: "MriCounts") -> "MriCounts":
        return MriCounts(voxels=self.voxels + other.voxels)

    def by_fold(self) -> Float[np.ndarray, "F P M"]:
        """Return the counts as an array."""
        shape = (NUM_FOLDS, NUM_POSITIONS, NUM_MRI_BINS)
        found: Float[np.ndarray, "F P M"] = self.voxels.toarray().reshape(shape).astype(float)
        return found


def count_of_mri(scan: Scan) -> Int[np.ndarray, "P M"]:
    """Return the voxels of an MRI by position and bin.

    Raises:
        DataError: Half of its body is background.
    """
    voxels, body, height, spacing_yx_mm = scan
    bins = mri_bins(voxels[body.astype(bool)])
    found: Int[np.ndarray, "P M"] = count_by_position(
        positions_of(body, height, spacing_yx_mm), bins, NUM_MRI_BINS
    )
    return found
