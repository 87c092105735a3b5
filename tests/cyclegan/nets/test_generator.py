"""The generator is the published one: its size, its layers, its initial weights."""

import pytest
import torch
from torch import nn

from cyclegan.nets.generator import PARAMETERS_OF_REFERENCE, Generator


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def zhu_parameters(filters: int, blocks: int) -> int:
    """Weights and biases of c7s1-f, d2f, d4f, R4f x blocks, u2f, uf, c7s1-1, by hand."""
    f = filters
    stem = 49 * f + f
    down = 9 * f * 2 * f + 2 * f + 9 * 2 * f * 4 * f + 4 * f
    block = 2 * (9 * 4 * f * 4 * f + 4 * f)
    up = 9 * 4 * f * 2 * f + 2 * f + 9 * 2 * f * f + f
    head = 49 * f + 1
    return stem + down + blocks * block + up + head


def test_the_reference_has_the_published_number_of_parameters():
    assert num_parameters(Generator()) == PARAMETERS_OF_REFERENCE == zhu_parameters(64, 9)


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("size", [(64, 64), (32, 44)])
def test_the_output_has_the_size_of_the_input_and_stays_within_the_window(upsample, size):
    image = torch.rand(2, 1, *size) * 2 - 1

    translated = Generator(filters=4, blocks=1, upsample=upsample)(image)

    assert translated.shape == image.shape
    assert translated.abs().max() <= 1


def test_resize_has_the_parameters_of_transposed():
    assert num_parameters(Generator(filters=4, upsample="resize")) == zhu_parameters(4, 9)


def test_initial_weights_have_the_published_spread():
    weights = torch.cat([p.flatten() for n, p in Generator().named_parameters() if "weight" in n])

    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


def test_a_slice_is_translated_alike_alone_and_in_a_batch():
    network = Generator(filters=4, blocks=1).eval()
    images = torch.rand(3, 1, 32, 32)

    alone = torch.cat([network(image[None]) for image in images])

    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-5)


def test_output_is_fp32_under_autocast():
    network = Generator(filters=4, blocks=1)

    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.zeros(1, 1, 32, 32)).dtype == torch.float32
