"""ResNet generator: translates a slice, with its neighbours as input channels, within [-1, 1].

Axes: B batch, C input channels (`input_channels`), H rows, W columns; H and W are multiples of 4.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.norm import InstanceNorm, UnbiasedConv2d, at_least_fp32
from cyclegan.nets.padding import ReflectionPad2d
from cyclegan.nets.upsample import NearestUpsample

PARAMETERS_OF_REFERENCE = 11_365_633  # one channel, 64 filters, nine blocks, transposed upsampling


class ResidualBlock(nn.Module):
    """Residual block of two convolutions, without an activation after the sum (Gross 2016).

    Args:
        channels: Channels of the input and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ReflectionPad2d(1),
            UnbiasedConv2d(channels, channels, 3),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            ReflectionPad2d(1),
            UnbiasedConv2d(channels, channels, 3),
            InstanceNorm(),
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Add the output of the convolutions to the features."""
        summed: Tensor = features + self.branch(features)
        return summed


def upsampling(channels: int, kind: Literal["transposed", "resize"]) -> list[nn.Module]:
    """Build layers that double the size and halve the channels.

    Args:
        channels: Channels of the input, an even number.
        kind: `transposed` convolution, or `resize`: nearest neighbour and a convolution.
    """
    if kind == "transposed":
        return [
            nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
        ]
    return [
        NearestUpsample(),
        ReflectionPad2d(1),
        UnbiasedConv2d(channels, channels // 2, 3),
    ]


class Generator(nn.Module):
    """Generator of Zhu 2017 (appendix 7.2), after Johnson 2016.

    Its layers are c7s1-f, d2f, d4f, R4f x blocks, u2f, uf, c7s1-1. InstanceNorm depends on the
    whole slice, so the input must not be tiled in-plane.

    Args:
        in_channels: Channels of the input, see `input_channels`.
        filters: Channels f of the first layer.
        blocks: Residual blocks, 0 or more.
        upsample: `transposed` convolution, or `resize`: nearest neighbour and a convolution.

    Examples:
        >>> to_ct = Generator(in_channels=3, filters=8, blocks=2)
        >>> to_ct(torch.zeros(4, 3, 64, 64)).shape
        torch.Size([4, 1, 64, 64])
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
                UnbiasedConv2d(channels, 2 * channels, 3, stride=2, padding=1),
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
            ReflectionPad2d(3),
            UnbiasedConv2d(in_channels, f, 7),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            *down,
            *[ResidualBlock(4 * f) for _ in range(blocks)],
            *up,
            ReflectionPad2d(3),
            nn.Conv2d(f, 1, 7),
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Translate slices.

        Args:
            image: Slices in [-1, 1] with neighbours and conditions; H and W are multiples of 4.

        Returns:
            The translated middle slices in [-1, 1], at least in fp32 regardless of autocast.
        """
        translated: Tensor = self.layers(image)
        return at_least_fp32(translated)


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Draw a convolution's weights from N(0, 0.02) and set its biases to 0 (Zhu 2017, 7.1).

    The second number is the standard deviation. Other modules are left as they are.

    Args:
        module: Any module; `Module.apply` calls this for each part of a network.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
