"""Changes of MRI intensities in the graph: MONAI's transforms with the same parameters agree."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, GaussianSmooth, RandBiasField, RandRicianNoise
from scipy import ndimage

from cyclegan.config.config import DataConfig
from cyclegan.data.augmentation import BIAS_TERMS, LEVELS, Augmentation, NoiseBank
from cyclegan.data.batch import Batch
from cyclegan.data.mri_intensity import MriIntensity
from cyclegan.data.philox import Stream
from cyclegan.data.stored_slices import StoredSlices
from tests.support.known_slices import SIZE, B, made, some_slices

NONE = Augmentation.none(B)
CHANGED = np.array([True, False] * (B // 2))
SPACING_MM = (1.0, 2.0)


def stored_mri(channels: int = 1) -> StoredSlices:
    """Slices that reach from -1 to 1 and have air at their border."""
    stored = some_slices("mri", NONE, channels=channels)
    voxels = np.clip(stored.voxels, 0, 900)
    inside = np.zeros(SIZE, bool)
    inside[8:-8, 8:-8] = True
    voxels[..., 20, 16] = 900
    return replace(stored, voxels=np.where(inside, voxels, 0).astype(np.int16))


def changed(
    noise_kind: Any = "gaussian", channels: int = 1, **changes: np.ndarray
) -> tuple[Batch, Batch]:
    """The batch without and with changes of the intensity."""
    config = DataConfig(noise_kind=noise_kind, neighbours=channels // 2)
    source = MriIntensity(config, 0, SIZE, SPACING_MM)
    mri, ct = stored_mri(channels), some_slices("ct", NONE, seed=1, channels=channels)
    inputs = source.inputs(replace(NONE, **changes))
    before = made(mri, ct, channels=channels)
    after = made(
        replace(mri, intensity=inputs),
        ct,
        channels=channels,
        changes_intensity=True,
        noise_kind=noise_kind,
    )
    for name in ("ct", "mri_body", "ct_body"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    return before, after


def test_what_is_drawn_for_no_slice_changes_none() -> None:
    before, after = changed("rician")

    assert torch.equal(after.mri, before.mri)


def test_gamma_is_that_of_monai_and_air_stays_air() -> None:
    gamma = np.where(CHANGED, np.linspace(0.5, 2, B), 1.0)

    before, after = changed(gamma=gamma)

    for x, y, power, is_changed in zip(before.mri, after.mri, gamma, CHANGED, strict=True):
        assert torch.equal(x, y) != is_changed
        torch.testing.assert_close(y, AdjustContrast(float(power))(x), atol=1e-5, rtol=0)
        assert (y[x == -1] == -1).all()


def test_a_bias_field_is_that_of_monai_and_air_stays_air() -> None:
    bias = np.random.default_rng(0).uniform(-0.1, 0.1, (B, len(BIAS_TERMS))) * CHANGED[:, None]

    before, after = changed(bias=bias)

    # MONAI orders a volume's coefficients by degrees along z, y, x; of one slice z is constant.
    terms = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    for x, y, coefficients, is_changed in zip(before.mri, after.mri, bias, CHANGED, strict=True):
        ours = {(0, *term): c for term, c in zip(BIAS_TERMS, coefficients, strict=True)}
        field = RandBiasField()._generate_random_field(
            (1, *SIZE), 3, [ours.get(term, 0.0) for term in terms]
        )
        expected = ((x.numpy() + 1) * np.exp(field) - 1).clip(-1, 1)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        assert torch.equal(x, y) != is_changed
        assert (y[x == -1] == -1).all()


def test_blur_is_that_of_scipy_and_nearly_that_of_monai() -> None:
    blur_mm = np.where(CHANGED, np.linspace(1.6, 2.2, B), 0.0)

    before, after = changed(channels=3, blur_mm=blur_mm)

    for x, y, sigma_mm, is_changed in zip(
        before.mri.numpy(), after.mri.numpy(), blur_mm, CHANGED, strict=True
    ):
        if not is_changed:
            np.testing.assert_array_equal(x, y)
            continue
        sigmas = sigma_mm / np.array(SPACING_MM)
        radius = [0, *(int(np.ceil(3 * sigma)) for sigma in sigmas)]
        scipys = ndimage.gaussian_filter(
            x.astype(float), (0, *sigmas), mode="mirror", radius=radius
        )
        np.testing.assert_allclose(y, scipys, atol=1e-5)
        # It cuts the kernel at four deviations instead of three.
        monais = GaussianSmooth(list(sigmas), approx="sampled")(x + 1) - 1
        np.testing.assert_allclose(y, monais, atol=3e-3)


class Noise:
    """A generator for MONAI that draws the noise that we added."""

    def __init__(self, *arrays: np.ndarray) -> None:
        self._arrays = iter(arrays)

    def normal(self, mean: float, std: float, size: Any) -> np.ndarray:
        return std * next(self._arrays).reshape(size)


@pytest.mark.parametrize("channels", [1, 3])
def test_rician_noise_is_that_of_monai(channels: int) -> None:
    noise = np.where(CHANGED, np.linspace(0.01, 0.2, B), 0.0)
    offsets = np.random.default_rng(0).random((B, 2))

    before, after = changed("rician", channels, noise=noise, noise_offset=offsets)

    bank = NoiseBank(0, channels * SIZE[0] * SIZE[1])
    real, imaginary = (bank.cut(column) / LEVELS for column in offsets.T)
    for number, (x, y) in enumerate(zip(before.mri, after.mri, strict=True)):
        transform = RandRicianNoise(prob=1, std=noise[number], sample_std=False)
        transform.R = Noise(real[number], imaginary[number])
        assert torch.equal(x, y) != CHANGED[number]
        magnitude = transform._add_noise(x.numpy() + 1, 0.0, noise[number])
        np.testing.assert_allclose(y, (magnitude - 1).clip(-1, 1), atol=1e-5)


def test_all_at_once_come_in_the_order_gamma_bias_blur_noise() -> None:
    config = DataConfig(
        gamma=(0.8, 1.25), bias_field=0.1, blur_mm=1.5, noise=0.05, noise_kind="rician"
    )
    drawn = Augmentation.draw(config, 3, Stream.MRI_VARIATION, np.arange(B))
    names = ("gamma", "bias", "blur_mm", "noise", "noise_offset")

    before, after = changed("rician", **{name: getattr(drawn, name) for name in names})

    inputs = MriIntensity(config, 0, SIZE, SPACING_MM).inputs(drawn)
    for number, (x, y) in enumerate(zip(before.mri.numpy() + 1.0, after.mri, strict=True)):
        expected = 2 * (x[0] / 2) ** drawn.gamma[number] * inputs["bias"][number][0, ..., 0]
        sigmas = drawn.blur_mm[number] / np.array(SPACING_MM)
        radius = [int(np.ceil(3 * sigma)) for sigma in sigmas]
        expected = ndimage.gaussian_filter(expected, sigmas, mode="mirror", radius=radius)
        steps = [
            drawn.noise[number] * inputs[name][number][0, ..., 0] / LEVELS
            for name in ("noise", "noise_imaginary")
        ]
        expected = np.hypot(expected + steps[0], steps[1])
        np.testing.assert_allclose(y[0], (expected - 1).clip(-1, 1), atol=2e-5)
