"""Texture of CTs, from voxel to voxel and slice to slice, without any trained network.

Arrays are HU [z, y, x] with a body mask.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.hounsfield import WINDOW_HU

NUM_FEATURE_BINS = 16
MAX_SLICES = 2000
"""Slices of each set that are compared: memory grows with their square, accuracy hardly."""
MIN_BODY_FRACTION = 0.02
"""Smallest share of body in a slice; below it the slice's histograms would be noise."""
_HU_EDGES = np.array(
    [-1025, -800, -500, -200, -120, -60, -20, 0, 20, 40, 60, 100, 200, 400, 800, 1400, 3072]
)
"""Edges of the HU bins, finer in the range of tissues."""
_STEP_EDGES = np.array([0, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 6000])
"""Edges of the bins of gradient magnitudes, which are at most 4095 HU along each axis."""


def roughness_of(hu: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return sums of absolute differences between neighbouring voxels, [3].

    They are the sum along z and the sum in plane (mean of both axes), in HU, and the number of
    voxels, over the voxels whose next neighbours along all axes are inside too.

    Args:
        hu: CT in HU [z, y, x].
        inside: Body mask [z, y, x].
    """
    sums = np.zeros(4)
    for z in range(len(hu) - 1):  # slice by slice, in the processor's cache
        image, mask = hu[z].astype(np.float32), inside[z]
        here = mask[:-1, :-1] & inside[z + 1, :-1, :-1] & mask[1:, :-1] & mask[:-1, 1:]
        after = (hu[z + 1, :-1, :-1], image[1:, :-1], image[:-1, 1:])
        first = image[:-1, :-1][here]
        steps = [np.abs(next_to[here] - first).sum(dtype=np.float64) for next_to in after]
        sums += [*steps, len(first)]
    along_z, y, x, voxels = sums
    return np.array([along_z, (y + x) / 2, voxels])


def roughness_ratio(synthetic: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Return the roughness along z of synthetic CTs relative to real ones; 1 is ideal.

    Each is first divided by its own in-plane roughness, so that a blurred CT does not count as
    smooth along z. Above 1, adjacent slices are inconsistent, as if translated independently.

    Args:
        synthetic: Sums of `roughness_of` over synthetic CTs.
        real: Sums of `roughness_of` over real CTs.
    """
    ours, theirs = (sums[0] / max(sums[1], 1e-9) for sums in (synthetic, real))
    return float(ours / max(theirs, 1e-9))


def slice_features(hu: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return features of each slice with enough body, [slices, 32].

    They are the shares of its body in 16 bins of HU and in 16 bins of in-plane gradient magnitude
    (HU per voxel). Slices with less than MIN_BODY_FRACTION of body are left out.

    Args:
        hu: CT in HU [z, y, x]; values outside the window are clipped to it.
        inside: Body mask [z, y, x].
    """
    rows = []
    for image, mask in zip(hu, inside, strict=True):
        if mask.mean() < MIN_BODY_FRACTION:
            continue
        values = image.astype(np.float32).clip(*WINDOW_HU)
        gradient = np.hypot(
            np.diff(values, axis=0, append=values[-1:])[mask],
            np.diff(values, axis=1, append=values[:, -1:])[mask],
        )
        counts = [_binned(values[mask], _HU_EDGES), _binned(gradient, _STEP_EDGES)]
        rows.append(np.concatenate(counts) / mask.sum())
    return np.array(rows, np.float32).reshape(-1, 2 * NUM_FEATURE_BINS)


def _binned(values: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the histogram of values in bins with whole edges; numpy's would sort them first."""
    whole = np.floor(values).astype(np.int64) - edges[0]
    counts = np.bincount(whole, minlength=edges[-1] - edges[0])
    binned: NDArray[np.int64] = np.add.reduceat(counts, edges[:-1] - edges[0])
    return binned


def kernel_distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float | None:
    """Return the squared maximum mean discrepancy of two sets of slices (Gretton 2012, eq. 3).

    The estimate is unbiased, with a Gaussian kernel whose width is the median distance between the
    real slices. It is near 0 (and may be negative) if the sets are indistinguishable, and at most
    2. Of more than 2000 slices in a set, every n-th is used.

    Args:
        ours: Features of synthetic slices, [slices, 32].
        theirs: Features of real slices, [slices, 32].

    Returns:
        The discrepancy; None if a set has fewer than two slices.
    """
    ours, theirs = (rows[:: -(-len(rows) // MAX_SLICES) or 1] for rows in (ours, theirs))
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


def _squares(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return squared distances, [len(a), len(b)]."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares: NDArray[np.float64] = (
        (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    ).clip(0)
    return squares
