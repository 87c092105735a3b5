"""Orients and resamples volumes between a file's own grid and the grid of the store.

Orientation, resampling, cropping and padding are all one change of grid, and `resample` serves both
directions. Grids with parallel axes use the faster `separable_resampling`, all others MONAI.
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrct.imaging.connected_components import Box
from mrct.imaging.interpolation import Interpolation
from mrct.imaging.separable_resampling import Route, inside_axis, pick, route, sample
from mrct.imaging.volume import Affine, Grid, Volume
from mrct.user import name_the_user

IntLike = NDArray[np.integer] | np.integer | int
Position = IntLike | NDArray[np.floating] | np.floating | float
SLICE_STEPS = 10_000
"""Facts about slices are stored in ten-thousandths."""

_LPS = np.array([-1.0, -1.0, 1.0])
"""Signs along RAS of the canonical axes: x to the left, y to the back, z up."""
_REVERSED = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
"""Swaps (x, y, z) and (z, y, x) indices."""
_SAME_SPACING = 1e-4
_FWHM = 2 * np.sqrt(2 * np.log(2))


def canonical(volume: Volume) -> Volume:
    """Permute and flip axes so that x, y, z run nearest to left, back, up.

    The voxels are a view. Slices then run upwards, row 0 is anterior, column 0 the patient's right.
    """
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    # Assign a voxel axis to each world axis so that the sum of cosines is largest.
    order = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(directions[world, axis]) for world, axis in enumerate(axes)),
    )
    flips = [directions[world, axis] * _LPS[world] < 0 for world, axis in enumerate(order)]
    to_old = np.zeros((4, 4))  # new (x, y, z, 1) indices to old ones
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = volume.voxels.shape[2 - old] - 1 if flip else 0
    # voxels: [z, y, x], so index axis i is array axis 2 - i
    turned: NDArray[Any] = volume.voxels.transpose([2 - axis for axis in order[::-1]])
    turned = np.flip(turned, axis=tuple(2 - new for new in range(3) if flips[new]))
    z, y, x = turned.shape
    grid = Grid(shape=(z, y, x), affine=volume.affine @ to_old)
    return volume.on(grid, turned)


def target_grid(
    grid: Grid, spacing_mm: tuple[float, float, float], size_yx: tuple[int, int], box: Box
) -> Grid:
    """Return the store's grid for a canonical volume: its axes, the given spacing and (Y, X), and
    its whole extent along z.

    In-plane the grid is centred on the body's box, given in voxels of `grid`. If the pixel sizes
    are equal, the centre is rounded to whole pixels, so that values stay unchanged. The axes of the
    source are kept, even oblique ones, but made perpendicular if they were not (a tilted gantry),
    by the nearest rotation.
    """
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(directions)
    axes = (left @ right) * spacing_mm[::-1]
    extent_mm = grid.shape[0] * grid.spacing_mm[0]
    shape = (max(1, int(np.ceil(extent_mm / spacing_mm[0] - 1e-3))), *size_yx)
    middle = (np.array(grid.shape)[::-1] - 1) / 2  # (x, y, z)
    for axis, side in enumerate(box[:0:-1]):
        middle[axis] = (side.start + side.stop - 1) / 2
        if abs(grid.spacing_mm[2 - axis] / spacing_mm[2 - axis] - 1) < _SAME_SPACING:
            half = (size_yx[1 - axis] - 1) / 2
            middle[axis] = np.floor(middle[axis] - half + 0.5) + half
    centre_mm = grid.affine[:3, :3] @ middle + grid.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = centre_mm - axes @ ((np.array(shape)[::-1] - 1) / 2)
    return Grid(shape=shape, affine=affine)


def resample(
    volume: Volume, grid: Grid, *, fill: float, interpolation: Interpolation = "linear"
) -> Volume:
    """Resample a volume to another grid as float32, with `fill` outside the volume.

    The volume extends half a voxel beyond its outermost centres, where its border repeats: the end
    slices of a cropped stack keep their values instead of mixing with air. A cubic spline keeps
    more fine detail than `linear`, but rings at edges; it is clipped to the range of the volume.

    Axes that become coarser are first smoothed by the Gaussian that makes a source voxel's point
    spread as wide as a target voxel's (Cardoso et al., MICCAI 2015), so that fine texture does
    not alias.
    """
    # How far a step along each source axis reaches in target voxels.
    steps = np.linalg.inv(grid.affine[:3, :3]) @ volume.affine[:3, :3]
    ratio = 1 / np.abs(steps).max(axis=0)[::-1]
    sigmas = np.sqrt(np.maximum(0, ratio**2 - 1)) / _FWHM
    sigmas[sigmas <= 0.1] = 0
    order = 1 if interpolation == "linear" else 3
    if separable := _route(volume.grid, grid):
        values = sample(volume.voxels, separable, sigmas=sigmas, order=order, fill=fill)
    else:
        voxels = ndimage.gaussian_filter(volume.voxels.astype(np.float32), sigmas, mode="nearest")
        values = _resample_oblique(voxels, volume.affine, grid, "bilinear" if order == 1 else order)
        values[~covered_voxels(volume.grid, grid)] = fill
    if order > 1:
        low, high = float(volume.voxels.min()), float(volume.voxels.max())
        values = values.clip(min(low, fill), max(high, fill))
    return volume.on(grid, values)


def resample_mask(mask: NDArray[np.bool_], source: Grid, grid: Grid) -> NDArray[np.bool_]:
    """Resample a mask to another grid by nearest neighbour; false outside the source."""
    if separable := _route(source, grid):
        return pick(mask, separable)
    turned = _resample_oblique(mask.astype(np.float32), source.affine, grid, "nearest")
    return (turned > 0.5) & covered_voxels(source, grid)


def _index_matrix(source: Grid, grid: Grid) -> Affine:
    """Return the matrix from (z, y, x, 1) indices of a grid to those of a source."""
    matrix: Affine = _REVERSED @ np.linalg.inv(source.affine) @ grid.affine @ _REVERSED
    return matrix


def _route(source: Grid, grid: Grid) -> Route | None:
    return route(_index_matrix(source, grid), source.shape, grid.shape)


def is_parallel(source: Grid, grid: Grid) -> bool:
    """Return whether the axes of two grids are parallel: resampling is then fast and takes little
    memory."""
    return _route(source, grid) is not None


def covered_voxels(source: Grid, grid: Grid) -> NDArray[np.bool_]:
    """Return which voxels of a grid have their centre in a voxel of the source."""
    matrix, inside = _index_matrix(source, grid).astype(np.float32), np.ones(grid.shape, np.bool_)
    indices = np.ogrid[tuple(slice(n) for n in grid.shape)]
    for axis, length in enumerate(source.shape):
        at = matrix[axis, 3] + sum(matrix[axis, own] * indices[own] for own in range(3))
        inside &= inside_axis(at, length)
    return inside


def _resample_oblique(
    voxels: NDArray[np.float32], affine: Affine, grid: Grid, mode: str | int
) -> NDArray[np.float32]:
    """Resample [z, y, x] arrays with MONAI, whose affines take indices in the array's order."""
    # Imported here, because it takes seconds that `describe`, `check` and `--help` do not need.
    name_the_user()  # a worker on a cluster ran no command
    import torch
    from monai.data import MetaTensor
    from monai.transforms import SpatialResample

    image = MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine @ _REVERSED))
    padding = "nearest" if isinstance(mode, int) else "border"
    result = SpatialResample(mode=mode, padding_mode=padding, dtype=torch.float32)(
        image, dst_affine=torch.from_numpy(grid.affine @ _REVERSED), spatial_size=grid.shape
    )
    return np.ascontiguousarray(result[0].numpy(), dtype=np.float32)


def relative_height(z: IntLike, lowest: Position, highest: Position) -> NDArray[np.float64]:
    """Return the height of slices, rounded to SLICE_STEPS: 0 at `lowest` and 1 at `highest`, which
    need not be slices, clipped beyond."""
    lowest, highest = np.asarray(lowest, np.float64), np.asarray(highest, np.float64)
    height = np.clip((z - lowest) / np.maximum(1, highest - lowest), 0, 1)
    return np.asarray(np.rint(height * SLICE_STEPS) / SLICE_STEPS)
