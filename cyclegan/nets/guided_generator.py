"""Generator from MRI to CT that corrects what its cohort's table says (`guide`).

Axes: B batch, C input channels (`input_channels`), K known CTs, H rows, W columns; H and W are
multiples of 4.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.generator import Generator
from cyclegan.nets.guide import GUIDE_CHANNELS, Guide
from cyclegan.nets.norm import at_least_fp32
from cyclegan.nets.padding import ReflectionPad2d

Upsample = Literal["transposed", "resize"]


class GuidedGenerator(Generator):
    """A look-up and a correction to it, which is 0 before the first step.

    The correction is the sum of a ResNet generator, which sees far at a quarter of the resolution,
    and of a branch of three convolutions at full resolution without InstanceNorm, to which
    values keep their level. Both see the input and the channels of the guide.

    Args:
        in_channels: Channels of the input with its two conditions, see `input_channels`.
        filters: Channels of the first layer; the branch has half as many.
        blocks: Residual blocks, 0 or more.
        upsample: `transposed` convolution, or `resize`: nearest neighbour and a convolution.

    Examples:
        >>> to_ct = GuidedGenerator(in_channels=3, filters=8, blocks=2)
        >>> to_ct(torch.zeros(4, 3, 64, 64)).shape
        torch.Size([4, 1, 64, 64])
    """

    def __init__(
        self, *, in_channels: int, filters: int = 64, blocks: int = 9, upsample: Upsample = "resize"
    ) -> None:
        channels = in_channels + GUIDE_CHANNELS
        super().__init__(in_channels=channels, filters=filters, blocks=blocks, upsample=upsample)
        width = max(1, filters // 2)
        self.guide = Guide()
        self.branch = nn.Sequential(
            ReflectionPad2d(1),
            nn.Conv2d(channels, width, 3),
            nn.ReLU(inplace=True),
            ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.ReLU(inplace=True),
            ReflectionPad2d(1),
            nn.Conv2d(width, 1, 3),
        )
        convolutions = [each for each in self.branch if isinstance(each, nn.Conv2d)]
        for each in convolutions:
            nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
        last = [each for each in self.layers if isinstance(each, nn.Conv2d)][-1]
        for weights in (*last.parameters(), *convolutions[-1].parameters()):
            nn.init.zeros_(weights)

    def forward(
        self,
        image: Float[Tensor, "B C H W"],
        known: Float[Tensor, "K 1 H W"] | None = None,
    ) -> Float[Tensor, "B 1 H W"]:
        """Translate slices.

        Args:
            image: Slices in [-1, 1] with neighbours and conditions; H and W are multiples of 4.
            known: The CTs themselves, where the last images are CTs: each is its own guess, and the
                table would take it for an MRI.

        Returns:
            The translated middle slices in [-1, 1], at least in fp32 regardless of autocast.
        """
        guide = self.guide(image, known)
        # An exported graph would keep the type of a cast that changes nothing.
        same = guide if guide.dtype == image.dtype else guide.to(image.dtype)
        features = torch.cat([image, same], dim=1)
        correction: Tensor = self.layers(features) + self.branch(features)
        corrected: Tensor = guide[:, :1] + at_least_fp32(correction)
        return corrected.clamp(-1.0, 1.0)

    def look_up(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Return the look-up without the correction."""
        guess: Tensor = self.guide(image)[:, :1]
        return guess.clamp(-1.0, 1.0)


def generator_of(
    *,
    in_channels: int,
    filters: int,
    blocks: int,
    upsample: Upsample,
    guide: Literal["none", "atlas", "table"] = "none",
) -> Generator:
    """Return a new generator, guided or not."""
    kind = Generator if guide == "none" else GuidedGenerator
    return kind(in_channels=in_channels, filters=filters, blocks=blocks, upsample=upsample)
