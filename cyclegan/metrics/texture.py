"""How a CT varies from voxel to voxel and slice to slice, told without any trained network.

Arrays are HU [z, y, x] with a body mask. Whether a CT is real or synthetic is unknown here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.hounsfield import WINDOW_HU

NUM_FEATURE_BINS = 16
MOST_SLICES = 2000
"""Of a side; more would cost memory by their square and hardly change the distance."""
ENOUGH_BODY = 0.02
"""Share of a slice below which its histograms would be noise."""
_HU_EDGES = np.array(
    [-1025, -800, -500, -200, -120, -60, -20, 0, 20, 40, 60, 100, 200, 400, 800, 1400, 3072]
)
"""Finer where tissues lie."""
_STEP_EDGES = np.array([0, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 1e5])


def roughness_of(hu: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[3]: sums of |difference| to the next voxel along z and in plane (mean of both axes), in HU,
    and the number of voxels, over those whose next neighbours along all axes are inside too."""
    values = hu.astype(np.float32)
    here = inside[:-1, :-1, :-1] & inside[1:, :-1, :-1]
    here &= inside[:-1, 1:, :-1] & inside[:-1, :-1, 1:]
    z, y, x = (np.abs(step)[here].sum(dtype=np.float64) for step in _steps(values))
    return np.array([z, (y + x) / 2, here.sum()])


def roughness_ratio(synthetic: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """How much more a synthetic CT jumps from slice to slice than a real one: 1 is right.

    Each is divided by its own roughness in plane first, so that a blurred CT does not look smooth
    along z. Above 1: slices do not belong together, as translators of single slices make them.
    """
    ours, theirs = (sums[0] / max(sums[1], 1e-9) for sums in (synthetic, real))
    return float(ours / max(theirs, 1e-9))


def slice_features(hu: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[slices, 32]: of each slice with enough body, the shares of its body in 16 bins of HU and in
    16 bins of gradient magnitude (HU a voxel, in plane)."""
    values = hu.astype(np.float32).clip(*WINDOW_HU)
    rows = []
    for image, mask in zip(values, inside, strict=True):
        if mask.mean() < ENOUGH_BODY:
            continue
        gradient = np.hypot(
            np.diff(image, axis=0, append=image[-1:]), np.diff(image, axis=1, append=image[:, -1:])
        )
        counts = [
            np.histogram(image[mask], _HU_EDGES)[0],
            np.histogram(gradient[mask], _STEP_EDGES)[0],
        ]
        rows.append(np.concatenate(counts) / mask.sum())
    return np.array(rows, np.float32).reshape(-1, 2 * NUM_FEATURE_BINS)


def kernel_distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float | None:
    """Maximum mean discrepancy of two sets of slices, squared and unbiased (Gretton 2012, eq. 3).

    Gaussian kernel, its width the median distance between the real slices. Near 0 where the sets
    cannot be told apart (it may fall below), at most 2. Of more than 2000 slices on a side every
    n-th is taken. None with fewer than two.
    """
    ours, theirs = (rows[:: -(-len(rows) // MOST_SLICES) or 1] for rows in (ours, theirs))
    if min(len(ours), len(theirs)) < 2:
        return None
    within = _squares(theirs, theirs)
    width = max(float(np.median(within[np.triu_indices(len(theirs), 1)])), 1e-12)

    def mean_of(squares: NDArray[np.float64], num_same: int) -> float:
        kernel = np.exp(-squares / (2 * width))
        # A slice is like itself: the diagonal, ones, does not count.
        return float((kernel.sum() - num_same) / (kernel.size - num_same))

    return (
        mean_of(_squares(ours, ours), len(ours))
        + mean_of(within, len(theirs))
        - 2 * mean_of(_squares(ours, theirs), 0)
    )


def _steps(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Differences to the next voxel along z, y and x, all of one shape."""
    first = values[:-1, :-1, :-1]
    return (
        values[1:, :-1, :-1] - first,
        values[:-1, 1:, :-1] - first,
        values[:-1, :-1, 1:] - first,
    )


def _squares(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """[len(a), len(b)], squared distances."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares: NDArray[np.float64] = (
        (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    ).clip(0)
    return squares
