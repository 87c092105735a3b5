"""Upsampling for compiled code is torch's own, and keeps the layout."""

import pytest
import torch
from torch import nn

from cyclegan.nets.generator import Generator
from cyclegan.nets.upsample import NearestUpsample, repeat_pixels

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_repeated_pixels_are_torchs_own_in_the_same_layout(layout):
    generator = torch.Generator().manual_seed(3)
    drawn = torch.rand(2, 5, 4, 6, generator=generator, dtype=torch.float64)
    drawn = drawn.contiguous(memory_format=layout)
    ours, theirs = drawn.clone().requires_grad_(), drawn.clone().requires_grad_()

    repeated = repeat_pixels(ours)
    expected = nn.Upsample(scale_factor=2, mode="nearest")(theirs)
    direction = torch.rand(expected.shape, generator=generator, dtype=torch.float64)
    repeated.backward(direction)
    expected.backward(direction)

    assert torch.equal(repeated, expected)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=0)
    assert repeated.is_contiguous(memory_format=layout)


def test_all_of_a_generators_upsampling_is_this_one():
    layers = Generator(filters=4, blocks=1, upsample="resize").modules()

    found = [layer for layer in layers if isinstance(layer, nn.Upsample)]

    assert len(found) == 2
    assert {type(layer) for layer in found} == {NearestUpsample}
