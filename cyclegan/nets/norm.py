"""InstanceNorm, in the memory layout of what it is given.

Axes: B batch, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5
Features = Float[Tensor, "B C H W"]


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and variance 1 (Ulyanov 2016), nothing learned or kept.

    torch's own copies a channels_last image to the other layout and back, which on a CPU takes
    three to five times as long, and leaves the convolutions after it with the slower layout.
    """

    def forward(self, features: Features) -> Features:
        """Of the same layout, but for images on a GPU that are not compiled."""
        if features.is_contiguous():
            return F.instance_norm(features, eps=EPSILON)
        if torch.compiler.is_compiling():
            return over_pixels(features)
        if features.device.type == "cpu":
            return image_by_image(features)
        return F.instance_norm(features, eps=EPSILON)


def image_by_image(features: Features) -> Features:
    """A BatchNorm for every image: torch has a channels_last one."""
    images = [F.batch_norm(x, None, None, training=True, eps=EPSILON) for x in features.split(1)]
    return torch.cat(images) if len(images) > 1 else images[0]


def over_pixels(features: Features) -> Features:
    """Written out, for the compiler to fuse; over one axis of pixels it finds the fast loops."""
    # channels_last features: [B, C, H, W] -> [B, H x W, C], a view
    pixels = at_least_fp32(features.permute(0, 2, 3, 1).flatten(1, 2))
    centred = pixels - pixels.mean(1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + EPSILON)
    normalised = (centred * scale).to(features.dtype)
    images: Tensor = normalised.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)
    return images


def at_least_fp32(image: Tensor) -> Tensor:
    """fp16 and bf16 become fp32; fp64, which gradient checks need, stays."""
    return image.to(torch.promote_types(image.dtype, torch.float32))
