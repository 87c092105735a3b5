"""The reference networks equal the paper's description, written down once more in other terms.

The oracle has no module of ours and no layer of torch's but a plain convolution: reflection is
indexing, a transposed convolution is a convolution of zeros in between, InstanceNorm is a mean and
a variance. Sources: Zhu 2017 (appendix 7.2), Johnson 2016 (the layers), Isola 2017 (the
discriminator).
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from cyclegan.config.presets import reference
from cyclegan.nets.discriminator import Discriminator
from cyclegan.nets.generator import Generator

# Errors relative to the largest value. In fp64 rounding alone; in fp32 more, through 24 layers.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-4}


def reflected(x: Tensor, by: int) -> Tensor:
    """Mirrored at the border without repeating it: -2 -1 0 1 2 -> 2 1 0 1 2."""
    rows, columns = (
        torch.arange(-by, size + by).abs().minimum(2 * (size - 1) - torch.arange(-by, size + by))
        for size in x.shape[-2:]
    )
    return x[..., rows, :][..., columns]


def normalised(x: Tensor) -> Tensor:
    centred = x - x.mean((-2, -1), keepdim=True)
    return centred / (centred.pow(2).mean((-2, -1), keepdim=True) + 1e-5).sqrt()


def transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 at half steps: each pixel spreads its weights; zeros in between, kernel turned around."""
    n, c, h, w = x.shape
    spread = torch.zeros(n, c, 2 * h + 2, 2 * w + 2, dtype=x.dtype)
    spread[..., 1:-1:2, 1:-1:2] = x
    return conv2d(spread, weight.transpose(0, 1).flip(2, 3), bias)


def generator_by_hand(x: Tensor, weights: Iterator[Tensor]) -> Tensor:
    """c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-1 and tanh."""

    def layer() -> tuple[Tensor, Tensor]:
        return next(weights), next(weights)

    x = normalised(conv2d(reflected(x, 3), *layer())).clamp(min=0)
    for _ in range(2):
        x = normalised(conv2d(x, *layer(), stride=2, padding=1)).clamp(min=0)
    for _ in range(9):
        inner = normalised(conv2d(reflected(x, 1), *layer())).clamp(min=0)
        x = x + normalised(conv2d(reflected(inner, 1), *layer()))
    for _ in range(2):
        x = normalised(transposed(x, *layer())).clamp(min=0)
    return torch.tanh(conv2d(reflected(x, 3), *layer()))


def discriminator_by_hand(x: Tensor, weights: Iterator[Tensor]) -> Tensor:
    """C64 without a norm, C128, C256, C512 at full step, one channel; slope 0.2 below zero."""
    for index, stride in enumerate((2, 2, 2, 1)):
        x = conv2d(x, next(weights), next(weights), stride=stride, padding=1)
        x = x if index == 0 else normalised(x)
        x = torch.where(x > 0, x, 0.2 * x)
    return conv2d(x, next(weights), next(weights), padding=1)


def networks(name: str, dtype: torch.dtype):
    config = reference()
    torch.manual_seed(4)
    if name == "generator":
        network = Generator(upsample=config.generator.upsample)
        by_hand = generator_by_hand
    else:
        network = Discriminator(
            norm=config.discriminator.norm, spectral=config.discriminator.spectral
        )
        by_hand = discriminator_by_hand
    return network.to(dtype), by_hand


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_outputs_and_gradients_equal_the_paper_written_down_again(name, dtype):
    network, by_hand = networks(name, dtype)
    # Images and weights in fp64 for the oracle: in fp32 its own rounding would count too.
    image = (torch.rand(1, 1, 48, 64, dtype=torch.float64) * 2 - 1).to(dtype)
    copies = [weight.detach().double().requires_grad_() for weight in network.parameters()]
    inputs = [image.clone().requires_grad_(), image.double().requires_grad_()]

    output = network.layers(inputs[0])  # forward() would round fp64 to fp32
    expected = by_hand(inputs[1], iter(copies))
    direction = torch.rand_like(expected)
    (output * direction.to(dtype)).sum().backward()
    (expected * direction).sum().backward()

    close(output, expected, TOLERANCE[dtype])
    close(inputs[0].grad, inputs[1].grad, TOLERANCE[dtype])
    # A bias before InstanceNorm has a gradient of nothing but rounding: all of a network at once.
    gradient = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    close(gradient, torch.cat([copy.grad.flatten() for copy in copies]), TOLERANCE[dtype])


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error < tolerance, f"relative error {error:.1e}"
