"""What the channels of a network's input are, and how a translated image becomes an input again.

[depth, slice - k ... slice ... slice + k, height]: the slice itself stands in the middle, with or
without its k neighbours on each side (2.5D) and its two conditions around them. A condition is a
channel derived from the body and not from the image's values, so a translated or returned image
has its source's.

Axes: B images, C input channels, N = 2 k + 1 slices, H rows, W columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def middle(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """The slice itself, without neighbours and conditions: a view."""
    own = image.shape[1] // 2
    return image[:, own : own + 1]


def in_place_of(
    source: Float[Tensor, "B C H W"], slices: Float[Tensor, "B N H W"], neighbours: int
) -> Float[Tensor, "B M H W"]:
    """`slices` with the conditions of `source`, which has `neighbours` slices on each side."""
    own = source.shape[1] // 2
    return torch.cat(
        [source[:, : own - neighbours], slices, source[:, own + neighbours + 1 :]], dim=1
    )
