"""Losses equal what others compute, have a gradient, and survive low precision."""

import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from cyclegan.nets.losses import (
    adversarial_loss,
    critic_loss,
    identity_loss,
    round_trip_loss,
    structural_loss,
)


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    original = torch.rand(2, 1, 40, 48, generator=generator) * 2 - 1
    noise = torch.randn(original.shape, generator=generator)
    return original, (original + 0.2 * noise).clamp(-1, 1)


def test_ssim_equals_scikit_image(images):
    original, returned = images
    oracle = [
        structural_similarity(
            a[0].numpy(),
            b[0].numpy(),
            data_range=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            truncate=5 / 1.5,
            full=True,
        )[1][5:-5, 5:-5].mean()
        for a, b in zip(original, returned, strict=True)
    ]

    loss = structural_loss(original, returned).item()

    assert loss == pytest.approx(1 - sum(oracle) / 2, abs=1e-4)


def test_ssim_equals_torchmetrics_inside_its_padded_border(images):
    original, returned = images
    _, full = structural_similarity_index_measure(
        returned, original, data_range=2.0, return_full_image=True
    )

    loss = structural_loss(original, returned)

    torch.testing.assert_close(loss, 1 - full[..., 5:-5, 5:-5].mean(), atol=1e-5, rtol=0)


def test_ssim_has_the_gradient_of_finite_differences(images):
    original, returned = (image[:1, :, :16, :16].clone() for image in images)
    returned.requires_grad_(True)
    direction = torch.randn(returned.shape, generator=torch.Generator().manual_seed(2))

    structural_loss(original, returned).backward()
    with torch.no_grad():
        ahead = structural_loss(original, returned + 1e-3 * direction)
        behind = structural_loss(original, returned - 1e-3 * direction)

    slope = (ahead - behind).item() / 2e-3
    assert (returned.grad * direction).sum().item() == pytest.approx(slope, rel=2e-2)
    assert abs(slope) > 1e-3


def test_ssim_of_equal_images_is_perfect_even_under_bf16_autocast(images):
    with torch.autocast("cpu", torch.bfloat16):
        assert structural_loss(images[0], images[0]).item() == pytest.approx(0, abs=1e-5)


def test_least_squares_by_hand():
    real, fake = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 3.0)

    assert adversarial_loss(fake).item() == pytest.approx(4.0)
    assert critic_loss(real, fake).item() == pytest.approx(0.5 * (0.25 + 9.0))


def test_absolute_errors_by_hand():
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)

    assert round_trip_loss(ones, zeros).item() == 1
    assert identity_loss(ones, 0.25 * ones).item() == 0.75
