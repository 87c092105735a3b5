"""Orientation, resampling, crop and pad: from a file's own grid to the store's and back.

Everything is a change of grid: the same `resample` goes there and back, and a grid says exactly
where its voxels lie. The home of MONAI's transforms.
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_prep.volume import Affine, Grid, Volume

_LPS = np.array([-1.0, -1.0, 1.0])
"""Signs along RAS of the canonical axes: x to the left, y to the back, z up."""
_REVERSED = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
"""Swaps (x, y, z) and (z, y, x) indices."""
_FWHM = 2 * np.sqrt(2 * np.log(2))


def canonical(volume: Volume) -> Volume:
    """Permute and flip axes so that x, y, z run nearest to left, back, up; voxels stay as they are.

    Slices then run upwards, row 0 is anterior and column 0 the patient's right.
    """
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    # Which voxel axis serves each world axis: the assignment with the largest cosines.
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
    return volume.on(grid, np.ascontiguousarray(turned))


def target_grid(
    grid: Grid,
    spacing_mm: tuple[float, float, float],
    size_yx: tuple[int, int],
    body: NDArray[np.bool_],
) -> Grid:
    """The store's grid for a canonical volume: its axes, our spacing and (Y, X), all of its z.

    In-plane the grid is centred on the body's box; `body` lies on `grid`. The source's axes are
    kept however oblique, but set at right angles where they were not (a tilted gantry), by the
    nearest rotation.
    """
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(directions)
    axes = (left @ right) * spacing_mm[::-1]
    extent_mm = grid.shape[0] * grid.spacing_mm[0]
    shape = (max(1, int(np.ceil(extent_mm / spacing_mm[0] - 1e-3))), *size_yx)
    middle = (np.array(grid.shape)[::-1] - 1) / 2  # (x, y, z)
    if body.any():
        for axis in (0, 1):
            across = np.flatnonzero(body.any(axis=(0, 1 + axis)))
            middle[axis] = (across[0] + across[-1]) / 2
    centre_mm = grid.affine[:3, :3] @ middle + grid.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = centre_mm - axes @ ((np.array(shape)[::-1] - 1) / 2)
    return Grid(shape=shape, affine=affine)


def resample(volume: Volume, grid: Grid, *, fill: float) -> Volume:
    """The volume on another grid: trilinear, `fill` where the volume does not reach, float32.

    It reaches half a voxel beyond its outermost centres, where its border repeats: the end slices
    of a cropped stack keep their values instead of mixing with air.

    Axes that get coarser are smoothed first by the Gaussian that makes a source voxel's point
    spread as wide as a target voxel's (Cardoso et al., MICCAI 2015), so that fine texture does
    not alias.
    """
    # How far a step along each source axis reaches in target voxels.
    steps = np.linalg.inv(grid.affine[:3, :3]) @ volume.affine[:3, :3]
    ratio = 1 / np.abs(steps).max(axis=0)[::-1]
    sigma = np.sqrt(np.maximum(0, ratio**2 - 1)) / _FWHM
    voxels = volume.voxels.astype(np.float32)
    if sigma.max() > 0.1:
        ndimage.gaussian_filter(voxels, sigma, output=voxels, mode="nearest")
    values = _sample(voxels, volume.affine, grid, "bilinear", "border")
    reached = resample_mask(np.ones(voxels.shape, np.bool_), volume.grid, grid)
    return volume.on(grid, np.where(reached, values, np.float32(fill)))


def resample_mask(mask: NDArray[np.bool_], source: Grid, grid: Grid) -> NDArray[np.bool_]:
    """A mask on another grid, by nearest neighbour; false where it does not reach."""
    return _sample(mask.astype(np.float32), source.affine, grid, "nearest", "zeros") > 0.5


def _sample(
    voxels: NDArray[np.float32], affine: Affine, grid: Grid, mode: str, padding: str
) -> NDArray[np.float32]:
    """MONAI's resampling for [z, y, x] arrays: its affines take indices in the array's order."""
    # Here, because they take seconds that `describe`, `check` and `--help` can do without.
    import torch
    from monai.data import MetaTensor
    from monai.transforms import SpatialResample

    image = MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine @ _REVERSED))
    result = SpatialResample(mode=mode, padding_mode=padding, dtype=torch.float32)(
        image, dst_affine=torch.from_numpy(grid.affine @ _REVERSED), spatial_size=grid.shape
    )
    return np.ascontiguousarray(result[0].numpy(), dtype=np.float32)
