"""Height in the body, 0 to 1: where a slice lies on an axis that a cohort has in common.

A height in the scan's own field of view, 0 at its lowest and 1 at its highest slice with body, is
another place of the body in each field of view. On a common axis each scan gets one offset in mm:
that at which its outline, slice by slice, is most like the cohort's. It takes no pair and no image
value.

Axes: Z slices of a scan, N points of an axis of 1 mm, F features of a slice, O offsets.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mrct.errors import UsageError
from mrct.imaging.geometry import relative_height

LEAST_OVERLAP = 0.6
"""Smallest share of a scan's slices with body that lies where the axis is known."""
WORST_MISFIT_MM = 20.0
"""Mean absolute difference of outlines above which a scan does not look like the cohort: 3 to 13 in
16 real heads, 42 and more in a thigh."""
_LONGEST_MM = 3000

Triple = tuple[float, float, float]
Features = Float[np.ndarray, "N F"]
Outline = Int[np.ndarray, "Z 3"]
"""Of each slice the number of body voxels, of rows and of columns with body."""


def outline_of(body: NDArray[Any]) -> Outline:
    """Return the outline of a body mask [z, y, x], 0 or 1."""
    inside = body.astype(bool, copy=False)
    found: Outline = np.stack(
        [
            np.count_nonzero(inside, axis=(1, 2)),
            np.count_nonzero(inside.any(axis=2), axis=1),
            np.count_nonzero(inside.any(axis=1), axis=1),
        ],
        axis=1,
    ).astype(np.int64)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a scan lies on an axis."""

    lowest: float
    """Index of its slice, or beyond it and between slices, at height 0."""
    highest: float
    """The same at height 1."""
    misfit_mm: float | None = None
    """How unlike its outline is there; infinite if it fits nowhere and its heights are those in its
    own field of view, None where there is no axis."""

    def heights(self, num_slices: int) -> NDArray[np.float64]:
        """Return the height of each slice, [z]."""
        return relative_height(np.arange(num_slices), self.lowest, self.highest)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeightAxis:
    """The axis of a cohort; one without points stands for heights in each scan's field of view."""

    sizes_mm: tuple[Triple, ...] = ()
    """Mean outline at each mm: root of its area, its rows and its columns in mm."""
    low_mm: float = 0.0
    """Where on the axis the height is 0: the lowest slices with body of the cohort."""
    high_mm: float = 0.0
    """Where it is 1."""
    volumes: int = 0
    """Number of scans that it was fitted to."""
    fallback: str = ""
    """Why there are no points, as a sentence; empty if there are, or if nobody has fitted it."""

    def __post_init__(self) -> None:
        sizes = np.array(self.sizes_mm or [(0, 0, 0)], np.float64)
        is_sound = (
            isinstance(self.volumes, int)
            and sizes.shape[1:] == (3,)
            and len(sizes) <= _LONGEST_MM
            and np.isfinite(sizes).all()
            and sizes.min() >= 0
        )
        ends = (self.low_mm, self.high_mm)
        if not is_sound or (self.sizes_mm and not 0 <= ends[0] < ends[1] <= len(sizes)):
            raise UsageError(
                f"An axis of heights has {len(sizes)} points, from {ends[0]} to {ends[1]} mm; it "
                f"must have at most {_LONGEST_MM}, each of three finite sizes, and hold its ends."
            )

    @property
    def sha256(self) -> str:
        """The hash of all its fields, by which stores, runs and models know it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def place(self, outline: Outline, spacing_mm: Triple) -> Placement:
        """Return where a scan lies.

        Args:
            outline: Its outline (`outline_of`).
            spacing_mm: Voxel size along (z, y, x).
        """
        holding = np.flatnonzero(outline[:, 0])
        lowest, highest = (holding[0], holding[-1]) if len(holding) else (0, len(outline) - 1)
        own = Placement(lowest=float(lowest), highest=float(highest))
        if not self.sizes_mm or not len(holding):
            return own
        offsets, costs = misfits(np.array(self.sizes_mm), sizes_by_mm(outline, spacing_mm))
        best = int(costs.argmin())
        misfit = float(costs[best])
        if not np.isfinite(misfit):
            return Placement(lowest=own.lowest, highest=own.highest, misfit_mm=misfit)
        # In single precision, because the index of a store keeps them so.
        ends = (np.array([self.low_mm, self.high_mm]) - offsets[best]) / spacing_mm[0]
        low, high = ends.astype(np.float32).tolist()
        return Placement(lowest=low, highest=high, misfit_mm=misfit)


IN_EACH_FIELD_OF_VIEW = HeightAxis()


def sizes_by_mm(outline: Outline, spacing_mm: Triple) -> Features:
    """Return root of the area, rows and columns in mm, at each mm from the lowest slice on, linear
    between slices; rounded to 1 micrometre, so that equal scans are equal to the bit."""
    dz, dy, dx = spacing_mm
    voxels, rows, columns = outline.T
    sizes = np.round([np.sqrt(voxels * (dy * dx)), rows * dy, columns * dx], 3)
    z = np.arange(len(outline)) * dz
    at = np.arange(int(z[-1]) + 1)
    found: Features = np.stack([np.interp(at, z, each) for each in sizes], axis=1)
    return found


def misfits(axis: Features, own: Features) -> tuple[Int[np.ndarray, " O"], Float[np.ndarray, " O"]]:
    """Return the offsets at which a scan may lie, and its misfit in mm at each.

    The misfit is the mean absolute difference of sizes where both are known; infinite if that is
    too little of the scan's body. Squares would let the few slices decide where a mask lacks a
    dark face or holds a headrest: with them five of six real MRIs lie some 25 mm too low.

    Args:
        axis: Sizes along an axis; NaN where they are not known.
        own: Sizes of the scan.
    """
    least = max(1, int(np.ceil(LEAST_OVERLAP * (own[:, 0] > 0).sum())))
    first = least - len(own)
    offsets = np.arange(first, max(first, len(axis) - least) + 1)
    before = max(0, -int(offsets[0]))
    after = max(0, int(offsets[-1]) + len(own) - len(axis))
    padded = np.pad(axis, ((before, after), (0, 0)), constant_values=np.nan)
    # Windows of the axis under the scan: [O, F, n].
    under = sliding_window_view(padded, len(own), axis=0)[offsets + before]
    known = ~np.isnan(under[:, 0])
    shared = (known & (own[:, 0] > 0)).sum(axis=1)
    total = np.nansum(np.abs(under - own.T), axis=(1, 2))
    means = total / np.maximum(1, known.sum(axis=1) * own.shape[1])
    return offsets, np.where(shared >= least, means, np.inf)
