"""The ResNet generator: an image with its neighbours in, an image out, all in [-1, 1].

Axes: B batch, C input channels (`input_channels`), H rows, W columns; H and W are multiples of 4.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.norm import InstanceNorm, at_least_fp32

PARAMETERS_OF_REFERENCE = 11_365_633  # one channel, 64 filters, nine blocks, transposed upsampling


class ResidualBlock(nn.Module):
    """Two convolutions around a shortcut, without an activation after the sum (Gross 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(),
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        summed: Tensor = features + self.branch(features)
        return summed


def upsampling(channels: int, kind: Literal["transposed", "resize"]) -> list[nn.Module]:
    """Twice the size, half the channels."""
    if kind == "transposed":
        return [
            nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
        ]
    return [
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.ReflectionPad2d(1),
        nn.Conv2d(channels, channels // 2, 3),
    ]


class Generator(nn.Module):
    """Zhu 2017, appendix 7.2, after Johnson 2016: c7s1-f, d2f, d4f, R4f x blocks, u2f, uf, c7s1-1.

    An InstanceNorm sees the whole slice: never tile the input in-plane.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        filters: int = 64,
        blocks: int = 9,
        upsample: Literal["transposed", "resize"] = "transposed",
    ) -> None:
        super().__init__()
        f = filters
        down = [
            layer
            for channels in (f, 2 * f)
            for layer in (
                nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
                InstanceNorm(),
                nn.ReLU(inplace=True),
            )
        ]
        up = [
            layer
            for channels in (4 * f, 2 * f)
            for layer in (
                *upsampling(channels, upsample),
                InstanceNorm(),
                nn.ReLU(inplace=True),
            )
        ]
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(in_channels, f, 7),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            *down,
            *[ResidualBlock(4 * f) for _ in range(blocks)],
            *up,
            nn.ReflectionPad2d(3),
            nn.Conv2d(f, 1, 7),
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Translate slices; the result is in [-1, 1], in fp32 at least, whatever autocast says."""
        translated: Tensor = self.layers(image)
        return at_least_fp32(translated)


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), biases 0 (Zhu 2017, appendix 7.1)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
