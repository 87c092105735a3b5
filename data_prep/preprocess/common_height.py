"""Heights along the body on an axis that a cohort has in common, from outlines alone.

A relative height, 0 at the lowest and 1 at the highest slice of a scan, is another place of the
body in each field of view. Here each scan gets one offset in mm: that at which its outline, slice
by slice, is most like the cohort's. It takes no pair and no image value.

Axes: Z slices of a scan, N points of an axis of 1 mm, F features of a slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

FEWEST_ALIGNED = 4
"""Scans from which a common axis is fitted."""
MOST_OFFSET_MM = 120
"""Largest distance that is tried between the middles of a scan and of the axis."""
LEAST_OVERLAP = 0.6
"""Smallest share of a scan's slices with body that lies where the axis is known."""
ROUNDS = 8
"""Of offsets and mean outline in turn; they settle in 3 to 5."""
WORST_MISFIT_MM = 15.0
"""Root mean square difference of outlines above which a scan is not of the same body part."""

Features = Float[np.ndarray, "N F"]


def outline_features(
    body: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> Float[np.ndarray, "Z 3"]:
    """Return the size of the outline in each slice: root of its area, length and width, in mm.

    Args:
        body: Body mask [z, y, x], 0 or 1.
        spacing_mm: Voxel size along (z, y, x).
    """
    _, dy, dx = spacing_mm
    inside = body.astype(bool)
    found: Float[np.ndarray, "Z 3"] = np.stack(
        [
            np.sqrt(inside.sum(axis=(1, 2)) * dy * dx),
            inside.any(axis=2).sum(axis=1) * dy,
            inside.any(axis=1).sum(axis=1) * dx,
        ],
        axis=1,
    )
    return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CommonAxis:
    """The mean outline of a cohort along its common axis, which begins at 0 mm."""

    features: Features
    """Mean features at each mm; NaN where no scan lies."""
    fallback: bool = False
    """Whether there were too few scans: heights are then those in the scan's own field of view."""

    def offset_of(self, features: Float[np.ndarray, "Z F"], slice_mm: float) -> tuple[float, float]:
        """Return where a scan's lowest slice lies on the axis, and the misfit there, both in mm.

        A misfit above WORST_MISFIT_MM says that the scan does not show this part of the body.
        """
        own = _by_mm(features, slice_mm)
        costs = {
            offset: _misfit(self.features, own, offset)
            for offset in _candidates(len(self.features), len(own))
        }
        best = min(costs, key=costs.__getitem__)
        return float(best), costs[best]


def fit_common_axis(
    scans: Sequence[tuple[Float[np.ndarray, "Z F"], float]],
) -> tuple[CommonAxis, list[float]]:
    """Return the common axis of scans, and where the lowest slice of each lies on it in mm.

    Offsets and mean outline are improved in turn (Procrustes analysis by shifts alone: Gower 1975,
    Psychometrika 40:33), from a start at each of the three longest scans; the best fit stays.

    Args:
        scans: Features of each scan (`outline_features`) and the distance of its slices in mm.
    """
    owns = [_by_mm(features, slice_mm) for features, slice_mm in scans]
    if len(owns) < FEWEST_ALIGNED:
        known = [np.nanmax(np.concatenate(owns), axis=0)] if owns else [np.zeros(3)]
        return CommonAxis(features=np.stack(known), fallback=True), [0.0] * len(owns)
    starts = sorted(range(len(owns)), key=lambda number: -len(owns[number]))[:3]
    fits = [_fit_from(owns, start) for start in starts]
    _, axis, offsets = min(fits, key=lambda fit: fit[0])
    return CommonAxis(features=axis), [float(offset) for offset in offsets]


def _fit_from(owns: list[Features], start: int) -> tuple[float, Features, list[int]]:
    axis, offsets = owns[start], [0] * len(owns)
    cost = np.inf
    for _ in range(ROUNDS):
        found, costs = [], []
        for own in owns:
            tried = {o: _misfit(axis, own, o) for o in _candidates(len(axis), len(own))}
            found.append(min(tried, key=tried.__getitem__))
            costs.append(tried[found[-1]])
        lowest = min(found)
        moved = [offset - lowest for offset in found]
        if moved == offsets:
            break
        offsets, cost = moved, float(np.mean(costs))
        axis = _mean_outline(owns, offsets)
    return cost, axis, offsets


def _mean_outline(owns: list[Features], offsets: list[int]) -> Features:
    """Return the mean over the scans at each mm."""
    length = max(offset + len(own) for own, offset in zip(owns, offsets, strict=True))
    sums, counts = np.zeros((length, owns[0].shape[1])), np.zeros((length, 1))
    for own, offset in zip(owns, offsets, strict=True):
        sums[offset : offset + len(own)] += own
        counts[offset : offset + len(own)] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _candidates(axis: int, own: int) -> range:
    middle = (axis - own) // 2
    return range(middle - MOST_OFFSET_MM, middle + MOST_OFFSET_MM + 1)


def _misfit(axis: Features, own: Features, offset: int) -> float:
    """Return the root mean square difference in mm where both are known; infinite if that is too
    little of the scan's body."""
    first, last = max(0, offset), min(len(axis), offset + len(own))
    if last <= first:
        return np.inf
    theirs, ours = axis[first:last], own[first - offset : last - offset]
    known = ~np.isnan(theirs[:, 0])
    with_body = own[:, 0] > 0
    shared = known & (ours[:, 0] > 0)
    if shared.sum() < LEAST_OVERLAP * with_body.sum():
        return np.inf
    return float(np.sqrt(np.square(theirs[known] - ours[known]).mean()))


def _by_mm(features: Float[np.ndarray, "Z F"], slice_mm: float) -> Features:
    """Return features at each mm from the lowest slice on, linear between slices."""
    z = np.arange(len(features)) * slice_mm
    at = np.arange(int(z[-1]) + 1)
    found: Features = np.stack([np.interp(at, z, each) for each in features.T], axis=1)
    return found
