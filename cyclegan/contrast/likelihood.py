"""P(MRI value given HU) of a cohort without pairs, by expectation-maximisation.

At each position MRI(m | position) = sum over h of P(m | h) CT(h | position): the MRIs' histogram
there is a mixture of what each HU looks like, in the shares that the CTs have there. Both sides are
known, by position; one P(m | h) for all positions is what explains them (a finite mixture with
known shares: Dempster 1977, Journal of the Royal Statistical Society B 39:1; as a deconvolution it
is the algorithm of Richardson 1972 and Lucy 1974). Positions count by the root of their voxels.

Axes: P positions, H bins of HU, M bins of the MRI, F folds of volumes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

EM_STEPS = 100
TRIAL_EM_STEPS = 50
"""Steps of a fit that only has to be compared with others: their order is clear by then."""
SMOOTHED_STEPS = 25
"""First steps, in which neighbouring HU share their look, so that a rare one starts from theirs."""
FEWEST_OF_BOTH = 30.0
"""Positions with fewer voxels of either kind, after smoothing, do not take part."""
BELL_WIDTHS = (0.06, 0.08, 0.10, 0.12, 0.14)
"""Standard deviations among which held-out MRIs choose, in the root of the standardised value."""
USUAL_WIDTH = 0.10
"""The width where there is only one MRI, so that none can be held out."""
BELL_FLOOR = 1e-4
"""Beside the bell's height of 1: no value is impossible."""
FREE_SMOOTHING = 0.6
"""Standard deviation in bins of HU and of the MRI by which the free shape is smoothed each step."""
NUM_FOLDS = 4
UNEXPLAINED = 1e-3
"""Share of the MRI's voxels that a held-out likelihood leaves to values that nothing explains."""

LEAST = 1e-9
"""Keeps quotients finite."""

Likelihood = Float[np.ndarray, "H M"]
Prior = Float[np.ndarray, "P H"]
POSITIONS_AT_ONCE = 128
"""Positions of a product that one thread computes: OpenBLAS takes more from 262,144 on."""
Counts = Float[np.ndarray, "P M"]
Restrict = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedLikelihood:
    """P(m | h) of a cohort, and how its fit went."""

    likelihood: Likelihood
    """P(m | h), the mean of bells and of a free shape; rows add up to 1."""
    held_out: Float[np.ndarray, "F H M"] | None
    """The same, fitted without the MRIs of each fold; None where all MRIs are in one."""
    findings: dict[str, float]
    """The width of the bells; and the held-out gain of bells and of the free shape, in nats a voxel
    above a histogram without positions. A gain near or below 0 is a warning that the cohorts
    differ; it does not tell which shape is better."""


def fit_likelihood(
    mri_counts: Float[np.ndarray, "F P M"],
    smoothed: Float[np.ndarray, "F P M"],
    ct_voxels: Float[np.ndarray, " P"],
    prior: Prior,
) -> FittedLikelihood:
    """Fit P(m | h).

    One bell for each HU is too narrow (fat and fluid look different in one HU), and a free shape
    spends its freedom on what position explains; their mean was better than either on phantoms of
    two generators.

    Args:
        mri_counts: Voxels of the MRIs by fold, position and bin; folds without an MRI are 0.
        smoothed: The same, smoothed over positions.
        ct_voxels: Voxels of the CTs by position, smoothed likewise.
        prior: CT(h | position), rows add up to 1.
    """
    all_smoothed, all_counts = smoothed.sum(axis=0), mri_counts.sum(axis=0)

    def fit(counts: Counts, width: float | None, steps: int = EM_STEPS) -> Likelihood:
        return expectation_maximisation(counts, ct_voxels, prior, shape_of(width), steps)

    unknown = np.full((prior.shape[1], all_counts.shape[1]), 1 / all_counts.shape[1])

    def without_folds(width: float | None) -> Float[np.ndarray, "F H M"]:
        return np.stack(
            [
                fit(all_smoothed - fold, width, TRIAL_EM_STEPS) if fold.any() else unknown
                for fold in smoothed
            ]
        )

    def gain_of(fits: Float[np.ndarray, "F H M"]) -> float:
        gains = [
            held_out_gain(shapes, (all_counts - fold).sum(axis=0), fold, prior)
            for shapes, fold in zip(fits, mri_counts, strict=True)
            if fold.any()
        ]
        return float(np.mean(gains))

    width, held_out, findings = USUAL_WIDTH, None, {}
    if sum(fold.any() for fold in mri_counts) > 1:
        trials = {width: without_folds(width) for width in BELL_WIDTHS}
        gains = {width: gain_of(fits) for width, fits in trials.items()}
        width, free = max(gains, key=gains.__getitem__), without_folds(None)
        findings = {"bell_gain_nats": gains[width], "free_gain_nats": gain_of(free)}
        held_out = (trials[width] + free) / 2
    likelihood = (fit(all_smoothed, width) + fit(all_smoothed, None)) / 2
    return FittedLikelihood(
        likelihood=likelihood, held_out=held_out, findings=findings | {"bell_width": width}
    )


def shape_of(width: float | None) -> Restrict:
    """Return what restricts P(m | h) after each step: a bell of this width, or some smoothness."""
    if width is None:
        return lambda expected: gaussian_filter(expected, FREE_SMOOTHING, mode="nearest")
    return lambda expected: bells(expected, width)


def bells(expected: Likelihood, width: float) -> Likelihood:
    """Return a bell for each HU around the mean of `expected`, smoothed over neighbouring HU."""
    levels = np.linspace(0, 1, expected.shape[1])
    means = gaussian_filter1d(expected @ levels, 1) / gaussian_filter1d(expected.sum(axis=1), 1)
    bell: Likelihood = np.exp(-0.5 * ((levels - means[:, None]) / width) ** 2) + BELL_FLOOR
    return bell


def expectation_maximisation(
    mri_counts: Counts,
    ct_voxels: Float[np.ndarray, " P"],
    prior: Prior,
    restrict: Restrict,
    steps: int = EM_STEPS,
) -> Likelihood:
    """Return P(m | h), restricted to a family after each step; rows add up to 1."""
    voxels = np.minimum(mri_counts.sum(axis=1), ct_voxels)
    used = voxels > FEWEST_OF_BOTH
    if not used.any():
        used = voxels > 0
    # In double precision: the smallest products are denormal in single, which is 20 times slower.
    shares, seen = prior[used].astype(np.float64), mri_counts[used].astype(np.float64)
    seen /= seen.sum(axis=1, keepdims=True)
    # The root of their number: neighbouring voxels are not independent. Not compared with others.
    back = (shares * np.sqrt(voxels[used])[:, None]).T
    likelihood = np.full((prior.shape[1], seen.shape[1]), 1 / seen.shape[1])
    for step in range(steps):
        explained = sum_over_positions(back, seen / (shares @ likelihood + LEAST))
        likelihood = likelihood * explained + LEAST
        if step < SMOOTHED_STEPS:
            likelihood = gaussian_filter(likelihood, (1, 0), mode="nearest")
        else:
            likelihood = restrict(likelihood)
        likelihood /= likelihood.sum(axis=1, keepdims=True)
    return likelihood


def sum_over_positions(
    left: Float[np.ndarray, "H P"], right: Float[np.ndarray, "P K"]
) -> Float[np.ndarray, "H K"]:
    """Return the product of both, equal to the bit for any number of threads.

    BLAS divides a long sum among its threads, but none as short as these parts.
    """
    starts = range(0, left.shape[1], POSITIONS_AT_ONCE)
    parts = [
        left[:, at : at + POSITIONS_AT_ONCE] @ right[at : at + POSITIONS_AT_ONCE] for at in starts
    ]
    total: Float[np.ndarray, "H K"] = np.sum(parts, axis=0)
    return total


def log_gains(
    likelihood: Likelihood, histogram: Float[np.ndarray, " M"], prior: Prior
) -> Float[np.ndarray, "P M"]:
    """Return how much likelier a table makes each value at each position than a histogram does.

    Args:
        likelihood: P(m | h) of the table.
        histogram: Voxels of other MRIs by value, whatever their position.
        prior: CT(h | position).

    Returns:
        Nats a voxel.
    """
    mixture = (1 - UNEXPLAINED) * (prior @ likelihood) + UNEXPLAINED / likelihood.shape[1]
    alone = histogram + 0.5
    gains: Float[np.ndarray, "P M"] = np.log(mixture) - np.log(alone / alone.sum())
    return gains


def held_out_gain(
    likelihood: Likelihood,
    histogram: Float[np.ndarray, " M"],
    held_out: Counts,
    prior: Prior,
) -> float:
    """Return the mean of `log_gains` over the voxels of MRIs that neither of both has seen."""
    gains = log_gains(likelihood, histogram, prior)
    return float((held_out * gains).sum() / held_out.sum())
