"""Reflection padding that preserves the memory layout of its input.

Axes: B batch, C channels, H rows, W columns; H2 and W2 with the padding.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Features = Float[Tensor, "B C H W"]
Padded = Float[Tensor, "B C H2 W2"]


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding without the border pixel.

    torch's implementation for GPUs copies a channels_last image to the other layout, there and
    back, and passes that layout to the convolution after it; compiled, it stores both layouts.
    """

    def forward(self, features: Features) -> Padded:
        """Pad the features; the layout is preserved."""
        if features.device.type == "cuda" and not features.is_contiguous():
            return pad_last_channels(features, self.padding[0])
        padded: Tensor = super().forward(features)
        return padded


def pad_last_channels(features: Features, padding: int) -> Padded:
    """Pad channels_last features as the contiguous volume [B, 1, H, W, C] that they are."""
    # [B, C, H, W] -> [B, 1, H, W, C], a view
    volume = features.permute(0, 2, 3, 1).unsqueeze(1)
    sides = (0, 0, padding, padding, padding, padding)
    return F.pad(volume, sides, mode="reflect").squeeze(1).permute(0, 3, 1, 2)
