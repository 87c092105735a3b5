"""Losses equal what others compute, have a gradient, and survive low precision."""

import pytest
import torch
from monai.losses import SSIMLoss
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from cyclegan.nets.losses import (
    adversarial_loss,
    discriminator_loss,
    gradient_difference_loss,
    identity_loss,
    round_trip_loss,
    shape_loss,
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


def test_ssim_equals_monai(images):
    original, returned = images
    oracle = SSIMLoss(spatial_dims=2, data_range=2.0)(returned, original)

    torch.testing.assert_close(structural_loss(original, returned), oracle, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "loss",
    [
        structural_loss,
        gradient_difference_loss,
        round_trip_loss,
        lambda original, returned: shape_loss((original > 0).double(), returned, -0.8),
    ],
    ids=["ssim", "gradient", "cycle", "shape"],
)
def test_a_loss_has_the_gradient_of_finite_differences(images, loss):
    original, returned = (image[:1, :, :13, :12].double() for image in images)
    returned.requires_grad_(True)

    assert torch.autograd.gradcheck(lambda image: loss(original, image), (returned,))


def test_ssim_of_equal_images_is_perfect_even_under_bf16_autocast(images):
    with torch.autocast("cpu", torch.bfloat16):
        assert structural_loss(images[0], images[0]).item() == pytest.approx(0, abs=1e-5)


def test_least_squares_by_hand():
    real, fake = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 3.0)

    assert adversarial_loss(fake).item() == pytest.approx(4.0)
    assert discriminator_loss(real, fake).item() == pytest.approx(0.5 * (0.25 + 9.0))


def test_absolute_errors_by_hand():
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)

    assert round_trip_loss(ones, zeros).item() == 1
    assert identity_loss(ones, 0.25 * ones).item() == 0.75


def test_gradient_difference_by_hand():
    original = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]
    returned = torch.tensor([[0.0, -0.5], [0.0, -0.5]])[None, None]

    # Across, |1| against |-0.5| in both rows; down, nothing changes in either image.
    assert gradient_difference_loss(original, returned).item() == pytest.approx(0.5)


def test_gradient_difference_is_zero_for_a_shift_in_brightness_and_not_for_blur(images):
    original, _ = images
    blurred = torch.nn.functional.avg_pool2d(original, 3, stride=1, padding=1)

    assert gradient_difference_loss(original, original + 0.3).item() == pytest.approx(0, abs=1e-6)
    assert gradient_difference_loss(original, blurred).item() > 0.1


def test_the_shape_of_a_body_is_where_there_is_no_air():
    body = torch.zeros(1, 1, 8, 8)
    body[..., 2:6, 2:6] = 1
    translated = 1.5 * body - 1  # air and +0.5

    assert shape_loss(body, translated, -0.65).item() < 1e-2
    shifted = shape_loss(body, translated.roll(1, dims=-1), -0.65)
    # A column of four pixels appears and one is lost, of 64.
    assert shifted.item() == pytest.approx(8 / 64, abs=1e-2)


def test_half_way_between_air_and_body_counts_as_half():
    body = torch.ones(1, 1, 4, 4)

    assert shape_loss(body, torch.full((1, 1, 4, 4), -0.65), -0.65).item() == pytest.approx(0.5)
