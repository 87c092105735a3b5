"""Measures which part of a body lies beyond the slices of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.connected_components import Box
from mrct.imaging.volume import Affine, Grid

_SIDES = (("front", "back"), ("right", "left"))
"""Patient sides at which rows and columns begin and end."""
_UNSURE_MM = 6.0
"""A box found on coarse voxels may extend this far beyond the body."""
_SPARE_MM = 5.0
_MULTIPLE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Cropping:
    """How much of the body is cut off, and the slice size that would hold all of it."""

    lost_mm: tuple[tuple[str, float], ...]
    """Lost length by side, in mm; empty if the body is complete."""
    needed_size: tuple[int, int]
    """Rows and columns that hold the whole body; those of the grid if it is complete."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for the user; none if the body is complete."""
        if not self.lost_mm:
            return ()
        lost = ", ".join(f"{mm:.0f} mm at the {side}" for side, mm in self.lost_mm)
        rows, columns = self.needed_size
        return (
            f"The slices are too small for the body: about {lost} are cut off. "
            f"--size {rows} {columns} would hold it.",
        )


def middle_of(size: Sequence[int], most: tuple[int, int]) -> tuple[slice, slice]:
    """Return the middle rows and columns of slices of `size`, at most `most` of them."""
    margins = [max(0, (n - limit) // 2) for n, limit in zip(size, most, strict=True)]
    rows, columns = (slice(m, n - m) for m, n in zip(margins, size, strict=True))
    return rows, columns


def cropping_of(body: NDArray[np.bool_], grid: Grid, box: Box, source: Grid) -> Cropping:
    """Compare the body's box in its source with the slices of `grid`, on which `body` lies.

    A side is cut if the body touches it and the source continues beyond, or if the box extends far
    beyond. Nothing is cut along z: a grid covers all slices of its own volume, and a paired volume
    covers those of its partner.
    """
    way = np.linalg.inv(grid.affine) @ source.affine
    reach = _bounds(way, tuple(slice(0, n) for n in source.shape))
    extent = _bounds(way, box)
    lost_mm, needed = [], list(grid.shape[1:])
    for axis, sides in enumerate(_SIDES):
        mm, last = grid.spacing_mm[1 + axis], grid.shape[1 + axis] - 0.5
        for end, side in enumerate(sides):
            beyond = (-0.5 - extent[axis][0], extent[axis][1] - last)[end] * mm
            goes_on = (-0.5 - reach[axis][0], reach[axis][1] - last)[end] * mm > mm
            touches = bool(body.take(-end, 1 + axis).any())
            if goes_on and (touches or beyond > _UNSURE_MM):
                lost_mm.append((side, max(beyond, mm)))
                more = 2 * (lost_mm[-1][1] + _SPARE_MM) / mm  # it grows at both ends
                whole = -int(-(grid.shape[1 + axis] + more) // _MULTIPLE) * _MULTIPLE
                needed[axis] = max(needed[axis], whole)
    return Cropping(lost_mm=tuple(lost_mm), needed_size=(needed[0], needed[1]))


def _bounds(way: Affine, box: Box) -> list[tuple[float, float]]:
    """Return begin and end of a box of voxels along the rows and columns of the target of `way`."""
    z, y, x = ((side.start - 0.5, side.stop - 0.5) for side in box)
    corners = np.array([(i, j, k, 1) for i in x for j in y for k in z]) @ way.T
    return [(float(at.min()), float(at.max())) for at in (corners[:, 1], corners[:, 0])]
