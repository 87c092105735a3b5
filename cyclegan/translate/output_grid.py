"""Resample results from the model's grid to that of the input, or to axial slices.

Axes: voxels are [z, y, x].
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.geometry import resample
from mrct.imaging.intensity import Window
from mrct.imaging.volume import Grid, Volume

_PART_VOXELS = 1 << 24
"""Voxels resampled at a time: 64 MiB as float32, independent of the size of the result."""


def on_grid(
    values: NDArray[np.float32], model_grid: Grid, grid: Grid, window: Window
) -> NDArray[np.int16]:
    """Resample values to another grid, rounded and clipped to `window`, whose low end fills voxels
    outside."""
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
    """Return the grid of slices `start` to `stop`."""
    affine = grid.affine.copy()
    affine[:3, 3] += start * affine[:3, 2]
    return replace(grid, shape=(stop - start, *grid.shape[1:]), affine=affine)


def axial(grid: Grid) -> Grid:
    """Return an axial grid, aligned with the patient's axes, that contains all of a grid.

    As in a CT, rows run from right to left, columns from front to back, and slices upwards. Pixels
    are square, with the finest spacing of the grid; the slice spacing is that of the grid along the
    body.
    """
    # Length along R, A, S of a step along each axis of the grid.
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
