"""Structure loss on MIND, an image descriptor that is similar in MRI and CT.

Axes: B batch, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.nets.norm import at_least_fp32

Image = Float[Tensor, "B 1 H W"]
Scalar = Float[Tensor, ""]

FLOOR = 4e-3
"""Smallest local variance in squared network units (a deviation of about 130 HU in CT). Smaller
differences are noise, which the descriptor would amplify to structure."""


def structure_loss(source: Image, translated: Image) -> Scalar:
    """Return the mean absolute difference of the MIND descriptors of two images, in [0, 1).

    It penalises edges that the source does not have, regardless of their sign. MIND is from
    Heinrich 2012; Yang 2018 and 2020 use it in this way (structure-constrained CycleGAN for MR to
    CT).

    Args:
        source: Real image in [-1, 1]; it gets no gradient.
        translated: Its translation, in [-1, 1].

    Examples:
        >>> image = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
        >>> structure_loss(image, -image)  # the sign of an edge does not matter
        tensor(0.)
    """
    with torch.autocast(source.device.type, enabled=False):
        ours, theirs = mind(at_least_fp32(translated)), mind(at_least_fp32(source))
        return F.l1_loss(ours, theirs.detach())


def mind(image: Image) -> Float[Tensor, "B 4 H W"]:
    """Return the similarity of each pixel's 3 x 3 patch to those of its four neighbours, in (0, 1].

    Heinrich 2012, eq. 4: exp(-D / V), with D the mean squared difference of two patches and V the
    mean of D over the four neighbours, at least FLOOR.

    Args:
        image: Image in [-1, 1].

    Returns:
        The similarities to the patches above, below, left and right, in this order.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    height, width = image.shape[-2:]
    neighbours = torch.cat(
        [
            padded[..., row : row + height, column : column + width]
            for row, column in ((0, 1), (2, 1), (1, 0), (1, 2))
        ],
        dim=1,
    )
    squared = F.pad((neighbours - image).square(), (1, 1, 1, 1), mode="replicate")
    distance = F.avg_pool2d(squared, 3, stride=1)
    variance = distance.mean(1, keepdim=True).clamp(min=FLOOR)
    return torch.exp(-distance / variance)
