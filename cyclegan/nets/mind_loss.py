"""A description of structure that looks alike in MRI and CT: MIND, and a loss between two of them.

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
"""Smallest local variance, in network units squared (of a CT some 130 HU): below it differences
are noise, which a descriptor would blow up to structure."""


def structure_loss(source: Image, translated: Image) -> Scalar:
    """Mean absolute difference of both images' MIND: edges should lie where the source has them.

    Whether an edge rises or falls does not matter. Heinrich 2012 (MIND); Yang 2018 and 2020
    (structure-constrained CycleGAN for MR to CT) use it so.
    """
    with torch.autocast(source.device.type, enabled=False):
        ours, theirs = mind(at_least_fp32(translated)), mind(at_least_fp32(source))
        return F.l1_loss(ours, theirs.detach())


def mind(image: Image) -> Float[Tensor, "B 4 H W"]:
    """Similarity of each pixel's 3 x 3 patch with those of its four neighbours, in (0, 1].

    Heinrich 2012, eq. 4: exp(-D / V), D the mean squared difference of two patches, V the mean of D
    over the four, here at least FLOOR.
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
