"""Nearest-neighbour upsampling that compiles to plain copies.

Axes: B batch, C channels, H rows, W columns; H2 and W2 are twice H and W.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Features = Float[Tensor, "B C H W"]
Upsampled = Float[Tensor, "B C H2 W2"]


class NearestUpsample(nn.Upsample):
    """Nearest-neighbour upsampling to twice the size.

    Compiled for a GPU, torch's own looks up every pixel by its index, and its backward pass adds
    them one by one in fp32.
    """

    def __init__(self) -> None:
        super().__init__(scale_factor=2, mode="nearest")

    def forward(self, input: Features) -> Upsampled:
        """Repeat each pixel along both axes."""
        if input.device.type == "cuda" and torch.compiler.is_compiling():
            return repeat_pixels(input)
        return super().forward(input)


def repeat_pixels(features: Features) -> Upsampled:
    """Repeat each pixel along both axes; the layout is preserved."""
    batch, channels, rows, columns = features.shape
    if features.is_contiguous():
        # [B, C, H, W] -> [B, C, H, 2, W, 2]
        grid = features[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
        return grid.reshape(batch, channels, 2 * rows, 2 * columns)
    # [B, C, H, W] -> [B, H, 2, W, 2, C]
    grid = features.permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
    return grid.reshape(batch, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)
