"""Finds the background of an MRI, from which magnitudes are counted, whatever their unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW = 250_000
"""Number of voxels from which the histogram is made."""
_TAIL = 0.1
"""Percentile of voxels that the histogram leaves out at both ends: an overflow, ringing."""
_BINS = 64
_LOWEST = _BINS // 4
"""Bins in which air must lie; a mode above them is tissue."""
_MOST_DARKER = 0.01
"""Largest fraction of voxels that may be darker than air."""


def background_level(voxels: NDArray[Any]) -> float | None:
    """Return the value of no signal in an MRI of any shape; None if air is not its darkest mode.

    Air is the mode of the lowest quarter of the histogram, with a valley above it and hardly any
    voxel below it; the level is the low end of its values. A scanner's magnitudes have it at 0. For
    a x + b with a > 0 it is a times the level of x, plus b.
    """
    sample = subsample(voxels, _FEW)
    low, high = (float(end) for end in np.percentile(sample, [_TAIL, 100 - _TAIL]))
    if low >= high:  # a few voxels in a constant background
        return low
    counts = _histogram(sample, low, high)
    mode = int(counts[:_LOWEST].argmax())
    above = np.flatnonzero(2 * counts[mode:] < counts[mode])
    if not len(above) or mode == _LOWEST - 1:
        return None
    darker = counts[: max(0, mode - 2 * int(above[0]))].sum()
    return low if darker <= _MOST_DARKER * sample.size else None


def _histogram(sample: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return how many values each bin holds, each spread half way to its neighbours.

    Otherwise few grey levels, fewer than bins, would have valleys between them.
    """
    values, counts = np.unique(sample.astype(np.float64), return_counts=True)
    gaps = np.diff(values) / 2
    ends = np.r_[values[0] - gaps[0], values[:-1] + gaps, values[-1] + gaps[-1]]
    return np.diff(np.interp(np.linspace(low, high, _BINS + 1), ends, np.r_[0, counts.cumsum()]))


def subsample(values: NDArray[Any], most: int = 1_000_000) -> NDArray[Any]:
    """Return every n-th value, about so many, with n odd so that they do not lie in one column."""
    sample: NDArray[Any] = values.ravel()[:: values.size // most | 1]
    return sample
