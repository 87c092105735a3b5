"""InstanceNorm is the same in every layout, and keeps the layout."""

from itertools import pairwise

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cyclegan.nets.generator import Generator
from cyclegan.nets.norm import (
    InstanceNorm,
    UnbiasedConv2d,
    WithoutBias,
    image_by_image,
    over_pixels,
)

WAYS = {"eager": InstanceNorm(), "image by image": image_by_image, "compiled": over_pixels}


@pytest.fixture
def features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 3 + 2 * torch.randn(2, 5, 6, 7, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_channels_last_features_have_the_values_and_gradients_of_torchs_own(features, way, batch):
    features = features[:batch]
    images = features.contiguous(memory_format=torch.channels_last).requires_grad_()
    reference = features.clone().requires_grad_()
    direction = torch.randn_like(features)

    normalised = WAYS[way](images)
    expected = torch.nn.InstanceNorm2d(5)(reference)
    (normalised * direction).sum().backward()
    (expected * direction).sum().backward()

    torch.testing.assert_close(normalised, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(images.grad, reference.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("way", WAYS)
def test_channels_last_stays_channels_last(features, way):
    images = features.contiguous(memory_format=torch.channels_last)

    assert WAYS[way](images).is_contiguous(memory_format=torch.channels_last)


def test_contiguous_features_are_normalised_by_torchs_own_bit_by_bit(features):
    features = features.float()

    assert torch.equal(InstanceNorm()(features), torch.nn.InstanceNorm2d(5)(features))


class WatchLayouts(TorchDispatchMode):
    """Notes every operation that turns channels_last images into contiguous ones."""

    def __init__(self) -> None:
        super().__init__()
        self.turned: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = [layout_of(each) for each in tree_leaves((args, kwargs))]
        results = [layout_of(each) for each in tree_leaves(made)]
        if torch.channels_last in given and torch.contiguous_format in results:
            self.turned.add(str(func))
        return made


def layout_of(value: object) -> torch.memory_format | None:
    """The layout of an image of several channels and pixels; None of anything else."""
    if not isinstance(value, torch.Tensor) or value.dim() != 4 or 1 in value.shape[1:]:
        return None
    layouts = [torch.contiguous_format, torch.channels_last]
    return next((each for each in layouts if value.is_contiguous(memory_format=each)), None)


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_a_generator_keeps_channels_last_there_and_back(upsample):
    last = {"memory_format": torch.channels_last}
    generator = Generator(in_channels=3, filters=4, blocks=1, upsample=upsample).to(**last)
    image = torch.rand(2, 3, 16, 16).contiguous(**last)

    with WatchLayouts() as watch:
        generator(image).square().mean().backward()

    assert watch.turned == set()


def test_a_layout_that_is_turned_is_noticed():
    with WatchLayouts() as watch:
        torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).contiguous()

    assert watch.turned == {"aten.clone.default"}


def test_the_norm_keeps_no_second_copy_for_the_backward_pass():
    images = torch.rand(2, 8, 16, 16).contiguous(memory_format=torch.channels_last)
    kept = []

    with saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        InstanceNorm()(images.requires_grad_())

    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    statistics = 2 * 4 * 2 * 8  # mean and deviation of 2 x 8 channels in fp32
    assert sum(storages.values()) == images.untyped_storage().nbytes() + statistics


def test_features_without_bias_have_their_own_gradient_and_the_bias_none():
    features = torch.rand(2, 3, 4, 4, requires_grad=True)
    bias = torch.rand(3, requires_grad=True)

    unbiased = WithoutBias.apply(features, bias)
    unbiased.square().sum().backward()

    assert torch.equal(unbiased, features)
    assert torch.equal(features.grad, 2 * features)
    assert torch.equal(bias.grad, torch.zeros(3))


def test_each_convolution_before_a_norm_may_leave_its_bias_out_and_no_other():
    layers = list(Generator(filters=4, blocks=1, upsample="resize").modules())

    before = [a for a, b in pairwise(layers) if isinstance(b, InstanceNorm)]

    assert len(before) == 7
    assert [each for each in layers if isinstance(each, UnbiasedConv2d)] == before
