"""From the model's grid to the one that a result is written on: the input's own, or axial slices.

It knows neither networks nor files. Axes: voxels are [z, y, x].
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.geometry import resample
from mrct.imaging.intensity import Window
from mrct.imaging.volume import Grid, Volume

_PART_VOXELS = 1 << 24
"""Resampled at a time: 64 MiB as float32, whatever the size of the result."""


def on_grid(
    values: NDArray[np.float32], model_grid: Grid, grid: Grid, window: Window
) -> NDArray[np.int16]:
    """Values on another grid, rounded, within `window`; its low end where they do not reach."""
    low, high = window
    made = Volume(voxels=values, affine=model_grid.affine, modality="ct", pseudonym="")
    z, y, x = grid.shape
    result = np.empty((z, y, x), np.int16)
    step = max(1, _PART_VOXELS // (y * x))
    for start in range(0, z, step):
        own = resample(made, part_of(grid, start, min(start + step, z)), fill=low).voxels
        result[start : start + step] = np.rint(own).clip(low, high)
    return result


def part_of(grid: Grid, start: int, stop: int) -> Grid:
    """The slices `start` to `stop` of a grid."""
    affine = grid.affine.copy()
    affine[:3, 3] += start * affine[:3, 2]
    return replace(grid, shape=(stop - start, *grid.shape[1:]), affine=affine)


def axial(grid: Grid) -> Grid:
    """Axial slices at right angles to the patient's axes that hold all of a grid.

    Rows run from right to left, columns from front to back, slices upwards, as in a CT. Pixels are
    square and as fine as the finest side of the grid's voxels; slices are as far apart as the
    grid's voxels are along the body.
    """
    # How far a step along each axis of the grid goes along R, A, S.
    steps = np.abs(grid.affine[:3, :3])
    along_body = int(steps[2].argmax())
    pixel_mm = float(np.linalg.norm(grid.affine[:3, :3], axis=0).min())
    slice_mm = float(np.linalg.norm(grid.affine[:3, along_body]))
    size = np.array(grid.shape)[::-1]
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in size), indexing="ij"))
    ras = grid.affine[:3, :3] @ corners.reshape(3, -1) + grid.affine[:3, 3:]
    low, high = ras.min(axis=1), ras.max(axis=1)
    spacing = np.array([pixel_mm, pixel_mm, slice_mm])
    x, y, z = (max(1, int(n)) for n in np.ceil((high - low) / spacing - 1e-3))
    affine = np.diag([-pixel_mm, -pixel_mm, slice_mm, 1.0])
    middle = (low + high) / 2
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return Grid(shape=(z, y, x), affine=affine)
