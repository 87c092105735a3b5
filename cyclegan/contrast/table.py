"""The contrast table of a cohort: what each HU looks like in its MRIs, learned without pairs.

A voxel's HU follows from two things by Bayes' rule: which HU the training CTs have at its position,
and which of them look like its MRI value. Unified segmentation does the same with tissue classes in
place of HU (Ashburner 2005, NeuroImage 26:839).

Axes: P positions, H bins of HU, M bins of the MRI, V voxels of a body.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cyclegan.atlas.positions import count_by_position, positions_of
from cyclegan.contrast.likelihood import held_out_gain
from cyclegan.contrast.random_field import mean_field
from cyclegan.contrast.value_bins import Bins, mri_bins
from cyclegan.nets.guide import NUM_MRI_BINS
from cyclegan.nets.input_channels import PixelSize
from mrct.imaging.hounsfield import AIR_HU

REFIT_STEPS = 3
REFIT_PRIOR = 0.5
"""Weight of the cohort in a refit, in shares of the voxels of the one MRI."""
REFIT_SMOOTHING = 0.5
"""Standard deviation in bins of HU and of the MRI."""
RARE = 0.002
"""Share of the cohort's weight that every bin of HU has, however rare it is in the one MRI."""
LEAST_GAIN = "least_gain_nats"
"""Finding: the gain below which an MRI is unlike those of the cohort."""
NEVER = 1e-6
"""Share that a position leaves to HU that no training CT has there."""


ARRAYS = ("prior", "likelihood", "bin_hu", "affinities", "histogram")
"""The fields of a table that are arrays."""


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
    histogram: Float[np.ndarray, " M"]
    """Voxels of the training MRIs by value."""
    spacing_yx_mm: PixelSize
    """Size of a pixel, of the training scans and of all others."""
    findings: dict[str, float]
    """How the fit went: see `FittedLikelihood`, and LEAST_GAIN."""

    def sentences(self) -> list[str]:
        """Return how the fit went, with a warning where MRIs and CTs do not belong together."""
        found = self.findings
        lines = [f"Bells of width {found['bell_width']:.2f} in the root of the standardised value."]
        if "bell_gain_nats" not in found:
            return lines
        bell, free = found["bell_gain_nats"], found["free_gain_nats"]
        lines.append(
            f"MRIs that were held out are likelier by {bell:.3f} (bells) and {free:.3f} (free "
            "shape) nats a voxel than without positions."
        )
        if bell <= 0:
            lines.append(
                "warning: A gain of 0 or less means that the MRIs are of other people, bodies or "
                "fields of view than the CTs, or that the outlines differ. Look at both: python -m "
                "data_prep describe STORE --picture FILE"
            )
        return lines

    def synthetic_ct(
        self, voxels: NDArray[Any], body: NDArray[Any], height: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return the synthetic CT of an MRI: refit to it, Bayes' rule, random field, mean.

        Args:
            voxels: MRI [z, y, x], counted from its background, in any unit.
            body: Body mask [z, y, x], 0 or 1.
            height: Height of each slice in the body, 0 to 1, [z].

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

    def expected_hu(self, *, by_value: bool) -> Float[np.ndarray, "P M"]:
        """Return the mean of the posterior at each position and MRI value, in HU: the table as a
        look-up, without a refit and without the random field.

        Args:
            by_value: Whether the value counts; else the mean atlas stands at every value.
        """
        shares = self.prior.astype(np.float64) + NEVER
        seen = self.likelihood if by_value else np.ones_like(self.likelihood)
        # Without BLAS, whose sums depend on the number of threads.
        weights = np.einsum("ph,hm->pm", shares, seen)
        found = np.einsum("ph,hm,h->pm", shares, seen, self.bin_hu.astype(np.float64)) / weights
        return np.asarray(found, np.float32)

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

    def gain_nats(
        self, voxels: NDArray[Any], body: NDArray[Any], height: NDArray[np.float64]
    ) -> float:
        """Return how likely an MRI is at its positions: the gain over a histogram without them.

        Args:
            voxels: MRI [z, y, x], counted from its background, in any unit.
            body: Body mask [z, y, x], 0 or 1, not empty.
            height: Height of each slice in the body, 0 to 1, [z].

        Returns:
            Nats a voxel; near or below 0 for an MRI that is unlike those of the cohort.

        Raises:
            DataError: Half of the body is background.
        """
        values = mri_bins(voxels[body.astype(bool)])
        positions = positions_of(body, height, self.spacing_yx_mm)
        counts = count_by_position(positions, values, NUM_MRI_BINS)
        return held_out_gain(self.likelihood, self.histogram, counts.astype(np.float64), self.prior)


def posterior(
    here: Float[np.ndarray, "V H"], values: Bins, likelihood: Float[np.ndarray, "H M"]
) -> Float[np.ndarray, "V H"]:
    """Return P(h | MRI value, position) of each voxel, by Bayes' rule; rows add up to 1."""
    found: Float[np.ndarray, "V H"] = here * likelihood.T.astype(np.float32)[values]
    found /= found.sum(axis=1, keepdims=True)
    return found
