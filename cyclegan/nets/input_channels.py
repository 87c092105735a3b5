"""Channels of a network's input, and the conversion of a translated image into an input.

The order is [depth, slice - k ... slice ... slice + k, height]: the slice itself is in the middle,
optionally with k neighbours on each side (2.5D) and two conditions around them. Conditions depend
on the body and not on the image's values, so a translated image has those of its source.

Axes: B images, N = 2 k + 1 slices, C input channels, M channels of the result, H rows, W columns.
"""

from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Mask = Float[Tensor, "B 1 H W"]
PixelSize = tuple[float, float]
"""Height and width of a pixel in mm."""

DEPTH_REACH_MM = 60.0
"""Largest depth that is distinguished, near that of the middle of a head. In mm, a depth does not
depend on the canvas around the body, nor on the size of the pixels."""


def replace_slices(
    source: Float[Tensor, "B C H W"], slices: Float[Tensor, "B N H W"], neighbours: int
) -> Float[Tensor, "B M H W"]:
    """Replace the slices of an input and keep its conditions.

    Args:
        source: Input with `neighbours` slices on each side of the middle one.
        slices: New slices.
        neighbours: Neighbours k on each side in `source`.

    Returns:
        `slices` between the conditions of `source`, M = N + number of conditions.

    Examples:
        >>> source = torch.zeros(2, 5, 64, 64)  # depth, three slices, height
        >>> replace_slices(source, torch.zeros(2, 1, 64, 64), neighbours=1).shape
        torch.Size([2, 3, 64, 64])
    """
    own = source.shape[1] // 2
    return torch.cat(
        [source[:, : own - neighbours], slices, source[:, own + neighbours + 1 :]], dim=1
    )


def with_conditions(
    slices: Float[Tensor, "B N H W"],
    body: Mask,
    height: Float[Tensor, " B"],
    spacing_yx_mm: PixelSize,
) -> Float[Tensor, "B M H W"]:
    """Add the two conditions of the middle slice, both in [-1, 1].

    Args:
        slices: The slice in the middle of its neighbours, in [-1, 1].
        body: Body mask of the middle slice, 0 or 1.
        height: Height of the middle slice in the body, 0 to 1.
        spacing_yx_mm: Size of a pixel.

    Returns:
        [depth, slices, height] along the channels, M = N + 2. The depth below the body's surface is
        -1 outside and 1 from DEPTH_REACH_MM on.
    """
    depth = 2 * depth_below_surface(body.float(), spacing_yx_mm) / DEPTH_REACH_MM - 1
    level = (2 * height - 1).clamp(-1, 1)[:, None, None, None].expand_as(depth)
    return torch.cat([depth.to(slices.dtype), slices, level.to(slices.dtype)], dim=1)


def depth_below_surface(
    body: Mask, spacing_yx_mm: PixelSize, reach_mm: float = DEPTH_REACH_MM
) -> Mask:
    """Return the distance in mm from each body pixel to the nearest outside, at most `reach_mm`.

    The distance is exact and Euclidean in the plane, computed one axis after the other
    (Felzenszwalb 2012, section 3) in a fixed number of operations, so that it runs on any device
    without a sync. The image's border is no surface; outside the body the depth is 0.

    Args:
        body: Body mask, 0 or 1.
        spacing_yx_mm: Size of a pixel.
        reach_mm: Largest depth.

    Examples:
        >>> body = torch.tensor([0.0, 1, 1, 1, 1, 0]).expand(1, 1, 6, 6)
        >>> depth_below_surface(body, spacing_yx_mm=(3, 2))[0, 0, 0]
        tensor([0., 2., 4., 4., 2., 0.])
    """
    dy, dx = spacing_yx_mm
    height, width = body.shape[-2:]
    rows = torch.arange(height, device=body.device, dtype=body.dtype)[:, None]
    beyond = height + ceil(reach_mm / dy)  # farther than the reach from every row
    above = rows - torch.where(body > 0.5, -float(beyond), rows).cummax(-2).values
    outside = torch.where(body > 0.5, float(height + beyond), rows)
    below = outside.flip(-2).cummin(-2).values.flip(-2) - rows
    # Squared distance along the column, then its minimum with the distances along the row added.
    squared = (torch.minimum(above, below) * dy).clamp(max=reach_mm) ** 2
    reach = min(ceil(reach_mm / dx), width)
    padded = F.pad(squared, (reach, reach), value=reach_mm**2)
    for offset in range(1, reach):
        left, right = reach - offset, reach + offset
        nearer = torch.minimum(padded[..., left : left + width], padded[..., right : right + width])
        squared = torch.minimum(squared, nearer + (offset * dx) ** 2)
    return squared.sqrt()
