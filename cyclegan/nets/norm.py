"""InstanceNorm that preserves the memory layout of its input, and the convolution before it.

Axes: B batch, C channels, D channels of a convolution's output, H rows, W columns, H2 and W2 of
the output, P pixels = H x W.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPSILON = 1e-5
HALF = (torch.float16, torch.bfloat16)
Features = Float[Tensor, "B C H W"]
Pixels = Float[Tensor, "B P C"]


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
    """Normalise channels_last features by elementary operations, which the compiler fuses.

    With a single axis of pixels the compiler generates fast loops.
    """
    # channels_last features: [B, C, H, W] -> [B, H x W, C], a view
    pixels = features.permute(0, 2, 3, 1).flatten(1, 2)
    normalised: Tensor = NormalisedPixels.apply(pixels)
    images: Tensor = normalised.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)
    return images


class NormalisedPixels(torch.autograd.Function):
    """Normalisation that reads its input once for both statistics, there and back.

    The derivatives of its operations one by one would be three sums over the pixels in place of
    two, and two of them in loops of their own.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Pixels) -> Pixels:
        """Normalise each channel of each image."""
        exact = at_least_fp32(pixels)
        variance, mean = torch.var_mean(exact, 1, correction=0, keepdim=True)
        scale = torch.rsqrt(variance + EPSILON)
        ctx.save_for_backward(pixels, mean, scale)
        return ((exact - mean) * scale).to(pixels.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Pixels) -> Pixels:
        """Return the gradient of the pixels: Ioffe 2015, section 3, without scale and shift."""
        pixels, mean, scale = ctx.saved_tensors
        normalised, slopes = (at_least_fp32(pixels) - mean) * scale, at_least_fp32(gradient)
        along = (slopes * normalised).mean(1, keepdim=True)
        change = scale * (slopes - slopes.mean(1, keepdim=True) - normalised * along)
        of_pixels: Tensor = change.to(pixels.dtype)
        return of_pixels


class UnbiasedConv2d(nn.Conv2d):
    """Convolution before an InstanceNorm, which subtracts whatever its bias adds.

    Compiled training leaves the bias out. Its gradient is 0 but for rounding, and to add it and to
    sum that gradient would read all features twice more.
    """

    def forward(self, input: Features) -> Float[Tensor, "B D H2 W2"]:
        """Convolve features."""
        if self.training and torch.compiler.is_compiling():
            unbiased = self._conv_forward(input, self.weight, None)
            features: Tensor = WithoutBias.apply(unbiased, self.bias)
            return features
        return super().forward(input)


class WithoutBias(torch.autograd.Function):
    """Features as they are, and a gradient of 0 for their bias: DDP and Adam wait for one."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, bias: Tensor) -> Tensor:
        """Return the features."""
        ctx.save_for_backward(bias)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the features and of the bias."""
        (bias,) = ctx.saved_tensors
        return gradient, torch.zeros_like(bias)


def at_least_fp32(image: Tensor) -> Tensor:
    """Convert fp16 and bf16 to fp32; fp64, which gradient checks need, is kept.

    An image that has the precision is passed through without an operator, which an exported graph
    would keep with the dtype and the device of its example.
    """
    return image.float() if image.dtype in HALF else image
