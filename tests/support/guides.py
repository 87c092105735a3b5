"""Guided generators without a cohort, and slices for them."""

import torch
from torch import Tensor

from cyclegan.nets.guide import NUM_MRI_BINS, POSITION_BINS
from cyclegan.nets.guided_generator import GuidedGenerator
from cyclegan.nets.input_channels import with_conditions

PIXEL_MM = (3.0, 3.0)


def random_guide(network: GuidedGenerator) -> None:
    """Let it look up random values, without abrupt changes from one MRI value to the next."""
    random = torch.Generator().manual_seed(1)
    ends = torch.rand(*POSITION_BINS, 2, generator=random) * 1.8 - 0.9
    share = torch.linspace(0, 1, NUM_MRI_BINS)
    guess = ends[..., :1] * (1 - share) + ends[..., 1:] * share
    network.guide.fill(guess, (0.5, 0.5), min(PIXEL_MM))


def slices(
    count: int, *, neighbours: int, size: tuple[int, int] = (48, 40), seed: int = 2
) -> Tensor:
    """Random values in an ellipse, with their conditions, [B, C, H, W]."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.linspace(-1, 1, size[0])[:, None], torch.linspace(-1, 1, size[1])
    body = ((y / 0.9) ** 2 + (x / 0.8) ** 2 < 1).float().expand(count, 1, *size)
    images = torch.rand(count, 2 * neighbours + 1, *size, generator=random) * 2 - 1
    height = torch.rand(count, generator=random)
    return with_conditions(images, body, height, PIXEL_MM)
