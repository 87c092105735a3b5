"""Losses equal what others compute, have a gradient, and survive low precision."""

import pytest
import torch
import torch.nn.functional as F
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
from tests.support.tf32 import ConvolveInTF32


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


def ssim_by_convolution(original: torch.Tensor, returned: torch.Tensor) -> torch.Tensor:
    """1 - SSIM as Wang 2004 writes it down, with the window in one piece."""
    offsets = torch.arange(11, dtype=original.dtype) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2
    x, y = original, returned
    mean_x, mean_y, xx, yy, xy = (F.conv2d(z, window) for z in (x, y, x * x, y * y, x * y))
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    upper = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    lower = (mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2)
    return 1 - (upper / lower).mean()


def with_gradient(loss, original, returned) -> tuple[torch.Tensor, torch.Tensor]:
    image = returned.clone().requires_grad_()
    value = loss(original, image)
    value.backward()
    return value.detach(), image.grad


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


def nearly_equal_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images as after a good cycle: local variances are small beside the squared means."""
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(2, 1, 6, 6, generator=generator) * 2 - 1
    original = F.interpolate(coarse, (64, 72), mode="bicubic").clamp(-1, 1)
    noise = torch.randn(original.shape, generator=generator)
    return original, (original + 0.003 * noise).clamp(-1, 1)


@pytest.mark.parametrize("make", [nearly_equal_images, None], ids=["smooth", "noisy"])
@pytest.mark.parametrize(
    ("dtype", "tolerance", "least_cosine"),
    [(torch.float64, 1e-10, 1 - 1e-12), (torch.float32, 1e-6, 0.999999)],
    ids=str,
)
def test_ssim_and_its_gradient_are_those_of_a_convolution(
    images, make, dtype, tolerance, least_cosine
):
    original, returned = (image.to(dtype) for image in (make() if make else images))

    value, gradient = with_gradient(structural_loss, original, returned)
    expected, direction = with_gradient(ssim_by_convolution, original, returned)

    # Relative to SSIM itself: the loss of nearly equal images is a difference from 1.
    torch.testing.assert_close(1 - value, 1 - expected, rtol=tolerance, atol=0)
    assert cosine(gradient, direction) > least_cosine


def test_tf32_does_not_touch_ssim_and_would_spoil_it_as_a_convolution():
    original, returned = nearly_equal_images()
    exact, direction = with_gradient(ssim_by_convolution, original.double(), returned.double())

    with ConvolveInTF32():
        value, gradient = with_gradient(structural_loss, original, returned)
        rounded, spoilt = with_gradient(ssim_by_convolution, original, returned)

    assert value.item() == pytest.approx(exact.item(), rel=1e-3)
    assert cosine(gradient, direction) > 0.999999
    assert abs(rounded.item() / exact.item() - 1) > 4e-3
    assert cosine(spoilt, direction) < 0.9995


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
