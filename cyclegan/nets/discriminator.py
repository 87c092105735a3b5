"""PatchGAN discriminator: one logit per 70 x 70 patch of an image, real or fake.

Axes: B batch, C the slice and its conditions, H rows, W columns, S scales, P Q patch grid.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import register_parametrization

from cyclegan.nets.generator import initialise
from cyclegan.nets.norm import InstanceNorm, at_least_fp32

SMALLEST_IMAGE = 24
"""Smallest side of an image, in pixels, for which the discriminator has an output."""
DISCRIMINATOR_PARAMETERS_OF_REFERENCE = 2_762_689  # one channel, 64 filters, InstanceNorm


class Discriminator(nn.Module):
    """PatchGAN of Isola 2017 (appendix 6.1.2): C64-C128-C256-C512, then one logit per patch.

    Args:
        in_channels: Channels of the input: the slice and its conditions.
        filters: Channels of the first layer.
        norm: Normalisation after the inner convolutions.
        spectral: Divide every convolution by its largest singular value (Miyato 2018). One power
            iteration runs per forward in training mode and none in evaluation mode, so use
            evaluation mode while the generators are updated.
        scales: Discriminators of the same shape, 1 or more; each further one sees the image at half
            the resolution of the previous one (Wang 2018, pix2pixHD): patches of 140, 280, ...

    Examples:
        >>> discriminator = Discriminator(filters=8, spectral=True)
        >>> discriminator(torch.zeros(4, 1, 64, 64)).shape  # 6 x 6 patches
        torch.Size([4, 1, 6, 6])
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
        self.apply(initialise)  # before any parametrization, which would hide the weight
        if spectral:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    register_parametrization(layer, "weight", SpectralNorm(layer.weight))

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B S P Q"]:
        """Return raw logits, at least in fp32: towards 1 for real, towards 0 for fake (LSGAN).

        Logits of coarser scales are repeated on the grid of the finest one, so that all scales have
        about the same weight in a mean.

        Args:
            image: Image in [-1, 1] with its conditions; each side is at least `SMALLEST_IMAGE`
                pixels at the coarsest scale.
        """
        logits: list[Tensor] = [self.layers(image)]
        for layers in self.coarser:
            image = F.avg_pool2d(image, 2)
            logits.append(F.interpolate(layers(image), logits[0].shape[-2:], mode="nearest"))
        return at_least_fp32(torch.cat(logits, dim=1))


class SpectralNorm(_SpectralNorm):
    """torch's own spectral norm (Miyato 2018), at least in fp32 regardless of autocast.

    Autocast on a GPU would run its matrix-vector products in half precision, and move the largest
    singular value by a thousandth; on a CPU it does not.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Divide a weight by its largest singular value."""
        device = "cpu" if weight.is_meta else weight.device.type  # autocast knows no meta device
        with torch.autocast(device, enabled=False):
            return super().forward(weight)


def patch_layers(
    in_channels: int, filters: int, norm: Literal["none", "instance"]
) -> nn.Sequential:
    """Build the convolutions of one scale, with torch's default initialisation.

    Args:
        in_channels: Channels of the input.
        filters: Channels of the first layer; the inner ones have 2, 4 and 8 times as many.
        norm: Normalisation after the inner convolutions.
    """
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
