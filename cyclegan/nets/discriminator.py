"""The PatchGAN critic: how real each 70 x 70 patch of an image looks.

Axes: B batch, C the slice and its conditions, H rows, W columns, S scales, P Q patch grid.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cyclegan.nets.generator import initialise
from cyclegan.nets.norm import InstanceNorm, at_least_fp32

SMALLEST_IMAGE = 24
"""Pixels of a side from which on there is a patch to judge."""
CRITIC_PARAMETERS_OF_REFERENCE = 2_762_689  # one channel, 64 filters, InstanceNorm


class Critic(nn.Module):
    """Isola 2017 (appendix 6.1.2): C64-C128-C256-C512, then one logit per patch.

    With `spectral` every convolution is divided by its largest singular value (Miyato 2018). One
    power iteration runs per forward in training mode and none in evaluation mode, so a critic that
    only judges must be in evaluation mode. More `scales` add critics of the same shape that see the
    image at half the resolution, a quarter, ... (Wang 2018, pix2pixHD): patches of 140, 280, ...
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        filters: int = 64,
        norm: Literal["none", "instance"] = "instance",
        spectral: bool = False,
        scales: int = 1,
    ) -> None:
        super().__init__()
        self.layers = patch_layers(in_channels, filters, norm)
        self.coarser = nn.ModuleList(
            patch_layers(in_channels, filters, norm) for _ in range(scales - 1)
        )
        self.apply(initialise)  # before any parametrization: it would hide the weight
        if spectral:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B S P Q"]:
        """Raw logits, in fp32 at least: towards 1 for real, towards 0 for fake (LSGAN).

        Those of coarser scales are repeated on the finest one's grid, so that each scale counts
        about alike in a mean over all.
        """
        logits: list[Tensor] = [self.layers(image)]
        for layers in self.coarser:
            image = F.avg_pool2d(image, 2)
            logits.append(F.interpolate(layers(image), logits[0].shape[-2:], mode="nearest"))
        return at_least_fp32(torch.cat(logits, dim=1))


def patch_layers(
    in_channels: int, filters: int, norm: Literal["none", "instance"]
) -> nn.Sequential:
    """The convolutions of one scale, weights as torch makes them."""
    layers: list[nn.Module] = []
    channels = in_channels
    for index, (width, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)]):
        layers.append(nn.Conv2d(channels, width * filters, 4, stride=stride, padding=1))
        if norm == "instance" and index > 0:
            layers.append(InstanceNorm())
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        channels = width * filters
    layers.append(nn.Conv2d(channels, 1, 4, padding=1))
    return nn.Sequential(*layers)
