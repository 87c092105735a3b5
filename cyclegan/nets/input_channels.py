"""What the channels of a network's input are, and how a translated image becomes an input again.

[depth, slice - k ... slice ... slice + k, height]: the slice itself stands in the middle, with or
without its k neighbours on each side (2.5D) and its two conditions around them. A condition comes
from the body and not from the image's values, so a translated or returned image has its source's.

Axes: B images, N = 2 k + 1 slices, C input channels, M channels of the result, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Mask = Float[Tensor, "B 1 H W"]


def in_place_of(
    source: Float[Tensor, "B C H W"], slices: Float[Tensor, "B N H W"], neighbours: int
) -> Float[Tensor, "B M H W"]:
    """`slices` with the conditions of `source`, which has `neighbours` slices on each side."""
    own = source.shape[1] // 2
    return torch.cat(
        [source[:, : own - neighbours], slices, source[:, own + neighbours + 1 :]], dim=1
    )


def with_conditions(
    slices: Float[Tensor, "B N H W"], body: Mask, height: Float[Tensor, " B"]
) -> Float[Tensor, "B M H W"]:
    """The slices between the two conditions of their middle one, both in [-1, 1].

    `body` is the middle slice's mask, 0 or 1, and `height` its relative height in the body, [0, 1].
    """
    reach = min(slices.shape[-2:]) // 4
    depth = 2 * depth_below_surface(body.float(), reach) / reach - 1
    level = (2 * height - 1).clamp(-1, 1)[:, None, None, None].expand_as(depth)
    return torch.cat([depth.to(slices.dtype), slices, level.to(slices.dtype)], dim=1)


def depth_below_surface(body: Mask, reach: int) -> Mask:
    """Distance in pixels from each pixel of the body to the next outside it, at most `reach`.

    Exact and Euclidean in the plane, one axis after the other (Felzenszwalb 2012, section 3), in a
    fixed number of operations, so that it runs on any device without a sync. The image's border is
    no surface; outside the body the depth is 0.
    """
    rows = torch.arange(body.shape[-2], device=body.device, dtype=body.dtype)[:, None]
    outside = torch.where(body > 0.5, -float(2 * body.shape[-2]), rows)
    above = rows - outside.cummax(-2).values
    outside = torch.where(body > 0.5, float(3 * body.shape[-2]), rows)
    below = outside.flip(-2).cummin(-2).values.flip(-2) - rows
    # Squared distance along the column, then the least of it and of the way along the row.
    squared = torch.minimum(above, below).clamp(max=reach) ** 2
    padded = F.pad(squared, (reach, reach), value=float(reach**2))
    width = body.shape[-1]
    for offset in range(1, reach):
        left, right = reach - offset, reach + offset
        nearer = torch.minimum(padded[..., left : left + width], padded[..., right : right + width])
        squared = torch.minimum(squared, nearer + offset**2)
    return squared.sqrt()
