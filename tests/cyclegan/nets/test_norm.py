"""InstanceNorm is the same in every layout, and keeps the layout."""

import pytest
import torch

from cyclegan.nets.norm import InstanceNorm, image_by_image, over_pixels

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
