"""The contrast table of a cohort: what each HU looks like in its MRIs, learned without pairs.

A voxel's HU follows from two things by Bayes' rule: which HU the training CTs have at its position,
and which of them look like its MRI value. Unified segmentation does the same with tissue classes in
place of HU (Ashburner 2005, NeuroImage 26:839).

Axes: P positions, H bins of HU, M bins of the MRI, V voxels of a body.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cyclegan.atlas.positions import (
    NUM_POSITIONS,
    count_by_position,
    positions_of,
    shares_by_position,
    smooth_by_position,
)
from cyclegan.atlas.scans import Scan, train_scans
from cyclegan.contrast.likelihood import NUM_FOLDS, fit_likelihood
from cyclegan.contrast.random_field import AffinityCounts, mean_field
from cyclegan.contrast.value_bins import (
    NUM_HU_BINS,
    NUM_MRI_BINS,
    TABLE_EDGES_HU,
    Bins,
    hu_bins,
    mri_bins,
)
from cyclegan.errors import DataError
from cyclegan.nets.input_channels import PixelSize
from data_prep.store.store import Store
from mrct.imaging.hounsfield import AIR_HU

REFIT_STEPS = 3
REFIT_PRIOR = 0.5
"""Weight of the cohort in a refit, in shares of the voxels of the one MRI."""
REFIT_SMOOTHING = 0.5
"""Standard deviation in bins of HU and of the MRI."""
RARE = 0.002
"""Share of the cohort's weight that every bin of HU has, however rare it is in the one MRI."""
NEVER = 1e-6
"""Share that a position leaves to HU that no training CT has there."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContrastTable:
    """What a cohort's MRIs and CTs say about the HU of a voxel."""

    prior: Float[np.ndarray, "P H"]
    """CT(h | position): share of each bin of HU; rows add up to 1."""
    likelihood: Float[np.ndarray, "H M"]
    """P(m | h); rows add up to 1."""
    bin_hu: Float[np.ndarray, " H"]
    """Mean of the training CTs in each bin, in HU."""
    affinities: Float[np.ndarray, "3 H H"]
    """Which HU are neighbours: see `random_field`."""
    spacing_yx_mm: PixelSize
    """Size of a pixel of all scans."""
    findings: dict[str, float]
    """How the fit went: see `fit_likelihood`."""

    def synthetic_ct(
        self, voxels: NDArray[Any], body: NDArray[Any], height: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return the synthetic CT of an MRI: refit to it, Bayes' rule, random field, mean.

        Args:
            voxels: MRI [z, y, x], counted from its background, in any unit.
            body: Body mask [z, y, x], 0 or 1.
            height: Relative height of each slice, 0 to 1, [z].

        Returns:
            HU [z, y, x]; -1024 outside the body.

        Raises:
            DataError: Half of the body is background.
        """
        inside = body.astype(bool)
        hu = np.full(body.shape, AIR_HU, np.float32)
        if inside.any():
            values = mri_bins(voxels[inside])
            here = self.prior[positions_of(body, height, self.spacing_yx_mm)] + np.float32(NEVER)
            alone = posterior(here, values, self.refit(here, values))
            hu[inside] = mean_field(alone, body, self.affinities) @ self.bin_hu
        return hu

    def refit(self, here: Float[np.ndarray, "V H"], values: Bins) -> Float[np.ndarray, "H M"]:
        """Return P(m | h) refit to one MRI, with the cohort's as the prior (Dirichlet).

        Args:
            here: Shares of the bins of HU at each voxel's position.
            values: The MRI's bin of each voxel.
        """
        likelihood, weight = self.likelihood, REFIT_PRIOR * len(values)
        for _ in range(REFIT_STEPS):
            expected = posterior(here, values, likelihood)
            counts = np.stack(
                [np.bincount(values, column, minlength=NUM_MRI_BINS) for column in expected.T]
            )
            counts = gaussian_filter(counts, REFIT_SMOOTHING, mode="nearest")
            share = counts.sum(axis=1, keepdims=True) / counts.sum() + RARE
            likelihood = counts + weight * share * self.likelihood
            likelihood /= likelihood.sum(axis=1, keepdims=True)
        return likelihood


def posterior(
    here: Float[np.ndarray, "V H"], values: Bins, likelihood: Float[np.ndarray, "H M"]
) -> Float[np.ndarray, "V H"]:
    """Return P(h | MRI value, position) of each voxel, by Bayes' rule; rows add up to 1."""
    found: Float[np.ndarray, "V H"] = here * likelihood.T.astype(np.float32)[values]
    found /= found.sum(axis=1, keepdims=True)
    return found


@lru_cache(maxsize=2)
def train_table(store: Store) -> ContrastTable:
    """Return the table of the train split; the result is cached.

    Raises:
        DataError: The train split has no MRI, or no CT.
    """
    return fit_table(
        train_scans(store, "mri"), lambda: train_scans(store, "ct"), store.spacing_mm[1:]
    )


def fit_table(
    mris: Iterable[Scan], cts: Callable[[], Iterable[Scan]], spacing_yx_mm: PixelSize
) -> ContrastTable:
    """Fit the table of a cohort; none of its people need both scans.

    Args:
        mris: MRIs, counted from their background.
        cts: Returns the CTs in HU; called twice, so that they need not be in memory together.
        spacing_yx_mm: Size of a pixel of all scans.

    Raises:
        DataError: There is no MRI, or no CT.
    """
    counts, sums = np.zeros((NUM_POSITIONS, NUM_HU_BINS), np.int64), np.zeros(NUM_HU_BINS)
    for hu, body, height in cts():
        inside = body.astype(bool)
        bins = hu_bins(hu[inside])
        counts += count_by_position(positions_of(body, height, spacing_yx_mm), bins, NUM_HU_BINS)
        sums += np.bincount(bins, hu[inside], minlength=NUM_HU_BINS)
    folds = np.zeros((NUM_FOLDS, NUM_POSITIONS, NUM_MRI_BINS))
    for number, (voxels, body, height) in enumerate(mris):
        if not body.any():
            continue
        bins = mri_bins(voxels[body.astype(bool)])
        positions = positions_of(body, height, spacing_yx_mm)
        folds[number % NUM_FOLDS] += count_by_position(positions, bins, NUM_MRI_BINS)
    if not (counts.any() and folds.any()):
        raise DataError(
            "A contrast table needs at least one MRI and one CT with a body in the train split. "
            "Convert more volumes: python -m data_prep convert --mri DIR --ct DIR ..."
        )
    prior = shares_by_position(counts)
    likelihood, findings = fit_likelihood(
        folds,
        np.stack([smooth_by_position(fold) for fold in folds]),
        smooth_by_position(counts).sum(axis=1),
        prior,
    )
    neighbours = AffinityCounts(NUM_HU_BINS)
    for hu, body, height in cts():
        bins = hu_bins(hu[body.astype(bool)])
        neighbours.add(body, bins, prior[positions_of(body, height, spacing_yx_mm)])
    voxels_of_bin = counts.sum(axis=0)
    middles = (TABLE_EDGES_HU[:-1] + TABLE_EDGES_HU[1:]) / 2
    bin_hu = np.where(voxels_of_bin > 0, sums / np.maximum(voxels_of_bin, 1), middles)
    return ContrastTable(
        prior=prior,
        likelihood=likelihood,
        bin_hu=bin_hu.astype(np.float32),
        affinities=neighbours.affinities(),
        spacing_yx_mm=spacing_yx_mm,
        findings=findings,
    )
