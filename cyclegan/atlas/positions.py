"""Where in the body a voxel lies: depth below the outline, height and direction.

Found from the body mask alone, so that heads of different people, and an MRI and a CT, can be
compared without registration and without an image value. Depth and height are those of a network's
conditions (`nets.input_channels`). Arrays are [z, y, x], rows from front to back.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from cyclegan.nets.guide import POSITION_BINS, half_turns, outermost_depth_mm
from cyclegan.nets.input_channels import DEPTH_REACH_MM, PixelSize, depth_below_surface

NUM_POSITIONS = int(np.prod(POSITION_BINS))
SMOOTHING = (0.5, 0.7, 0.7)
"""Standard deviation in bins of depth, height and direction of the Gaussian that smooths the
counts: the one under which held-out CTs are likeliest."""
FEWEST_VOXELS = 1.0
"""A position with fewer voxels, after smoothing, takes the shares of the nearest one."""
Positions = NDArray[np.intp]


def positions_of(
    body: NDArray[Any], height: NDArray[np.float64], spacing_yx_mm: PixelSize
) -> Positions:
    """Return the position of each body voxel, in [0, NUM_POSITIONS).

    Args:
        body: Body mask [z, y, x], 0 or 1.
        height: Height of each slice in the body, 0 to 1, [z].
        spacing_yx_mm: Size of a pixel.

    Returns:
        [voxels], in the order of the true voxels of `body`.
    """
    inside = body.astype(bool)
    planes = torch.from_numpy(inside.astype(np.float32))[:, None]
    depth = depth_below_surface(planes, spacing_yx_mm)[:, 0].numpy()[inside]
    num_depths, num_heights, num_angles = POSITION_BINS
    # The first bin is that of the outermost pixels.
    first, last = np.sqrt(outermost_depth_mm(spacing_yx_mm)), np.sqrt(DEPTH_REACH_MM)
    levels = (np.sqrt(depth) - first) / (last - first) * (num_depths - 1)
    depths = np.rint(levels).astype(np.intp)
    heights = (height * num_heights).astype(np.intp).clip(0, num_heights - 1)
    angles = (half_turns(2 * planes - 1)[:, 0].numpy()[inside] * num_angles).astype(np.intp)
    of_slice = np.repeat(heights, inside.sum(axis=(1, 2)))
    found: Positions = np.ravel_multi_index(
        (depths, of_slice, angles.clip(0, num_angles - 1)), POSITION_BINS
    )
    return found


def count_by_position(
    positions: Positions, bins: NDArray[np.intp], num_bins: int
) -> NDArray[np.int64]:
    """Return how many voxels lie at each position and in each bin, [positions, bins].

    Args:
        positions: Position of each voxel.
        bins: Bin of each voxel, in [0, num_bins).
        num_bins: Number of bins.
    """
    counts = np.bincount(positions * num_bins + bins, minlength=NUM_POSITIONS * num_bins)
    return counts.reshape(NUM_POSITIONS, num_bins)


def smooth_by_position(counts: NDArray[Any]) -> NDArray[np.float32]:
    """Return counts [positions, bins] smoothed over neighbouring positions."""
    by_position = counts.reshape(*POSITION_BINS, -1).astype(np.float32)
    smoothed: NDArray[np.float32] = gaussian_filter(by_position, (*SMOOTHING, 0))
    return smoothed.reshape(counts.shape)


def shares_by_position(counts: NDArray[Any]) -> NDArray[np.float32]:
    """Return the share of each bin at each position, smoothed, and known everywhere.

    Args:
        counts: Voxels by position and bin [positions, bins], not all 0.
    """
    smoothed = smooth_by_position(counts).reshape(*POSITION_BINS, -1)
    few = smoothed.sum(axis=-1) < FEWEST_VOXELS
    nearest = distance_transform_edt(few, return_distances=False, return_indices=True)
    known = smoothed[tuple(nearest)].reshape(counts.shape)
    shares: NDArray[np.float32] = known / known.sum(axis=1, keepdims=True)
    return shares
