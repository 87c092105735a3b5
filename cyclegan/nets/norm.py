"""InstanceNorm that preserves the memory layout of its input.

Axes: B batch, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5
HALF = (torch.float16, torch.bfloat16)
Features = Float[Tensor, "B C H W"]


class InstanceNorm(nn.Module):
    """InstanceNorm (Ulyanov 2016) without learned parameters or running statistics.

    Each channel of each image is normalised to mean 0 and variance 1. torch's implementation copies
    a channels_last image to the other layout, which on a CPU takes three to five times as long,
    and passes the slower layout to the convolutions after it.
    """

    def forward(self, features: Features) -> Features:
        """Normalise the features; the layout is preserved."""
        if features.is_contiguous():
            return F.instance_norm(features, eps=EPSILON)
        if torch.compiler.is_compiling():
            return over_pixels(features)
        return image_by_image(features)


def image_by_image(features: Features) -> Features:
    """Normalise by a BatchNorm of each image: torch has a channels_last implementation of that.

    For the backward pass it keeps the features and their statistics, but no second copy.
    """
    images = [F.batch_norm(x, None, None, training=True, eps=EPSILON) for x in features.split(1)]
    return torch.cat(images) if len(images) > 1 else images[0]


def over_pixels(features: Features) -> Features:
    """Normalise by elementary operations, which the compiler fuses.

    The features are read once for both statistics. With a single axis of pixels the compiler
    generates fast loops.
    """
    # channels_last features: [B, C, H, W] -> [B, H x W, C], a view
    pixels = at_least_fp32(features.permute(0, 2, 3, 1).flatten(1, 2))
    variance, mean = torch.var_mean(pixels, 1, correction=0, keepdim=True)
    normalised = ((pixels - mean) * torch.rsqrt(variance + EPSILON)).to(features.dtype)
    images: Tensor = normalised.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)
    return images


def at_least_fp32(image: Tensor) -> Tensor:
    """Convert fp16 and bf16 to fp32; fp64, which gradient checks need, is kept.

    An image that has the precision is passed through without an operator, which an exported graph
    would keep with the dtype and the device of its example.
    """
    return image.float() if image.dtype in HALF else image
