"""A volume goes through a network slice by slice, and its voxels come back in their own units."""

import numpy as np
import pytest
import torch

from cyclegan.inference.slices import to_input, to_values, translate_volume
from cyclegan.nets.generator import Generator
from mrct.imaging.hounsfield import WINDOW_HU

RNG = np.random.default_rng(3)
SHAPE = (5, 8, 12)
BODY = np.zeros(SHAPE, np.uint8)
BODY[:, 2:6, 3:10] = 1
INSIDE = BODY == 1


def test_every_batch_size_gives_the_slices_of_one_pass_in_order():
    images = torch.rand(5, 1, 16, 20)
    network = Generator(filters=2, blocks=1).eval()
    with torch.no_grad():
        whole = network(images)
    for batch_size in (1, 2, 5, 8):
        torch.testing.assert_close(translate_volume(network, images, batch_size), whole)


def test_the_identity_returns_any_volume_bit_for_bit():
    for slices in (1, 3):
        images = torch.rand(slices, 1, 7, 9)
        assert torch.equal(translate_volume(lambda x: x, images, 2), images)


def test_what_is_translated_is_fp32_and_carries_no_graph():
    network = torch.nn.Conv2d(1, 1, 1).bfloat16()
    translated = translate_volume(network, torch.rand(2, 1, 4, 4).bfloat16())
    assert translated.dtype == torch.float32
    assert not translated.requires_grad


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_a_ct_comes_back_in_hu_with_air_outside_the_body(contrast):
    hu = RNG.integers(-1024, 3072, SHAPE).astype(np.int16)
    images = to_input(hu, BODY, WINDOW_HU, "ct", contrast)
    assert images.shape == (5, 1, 8, 12)
    # The middle of the window is 0, whatever is done to the MRI.
    np.testing.assert_allclose(images.numpy()[:, 0], (hu - 1023.5) / 2047.5, atol=1e-6)
    values = to_values(images, BODY, WINDOW_HU, "ct", contrast)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.where(INSIDE, hu, -1024), atol=1e-3)


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_an_mri_comes_back_in_its_own_unit(contrast):
    voxels = RNG.integers(0, 900, SHAPE).astype(np.int16)
    images = to_input(voxels, BODY, (0.0, 900.0), "mri", contrast)
    assert images.min() >= -1
    assert images.max() <= 1
    values = to_values(images, BODY, (0.0, 900.0), "mri", contrast)
    np.testing.assert_allclose(values[INSIDE], voxels[INSIDE], atol=1e-2)
    expected = voxels[~INSIDE] if contrast == "plain" else 0
    np.testing.assert_allclose(values[~INSIDE], expected, atol=1e-2)


def test_inverted_contrast_shows_bright_fat_below_dark_bone():
    voxels = np.zeros(SHAPE, np.int16)
    voxels[:, 2:4] = 900
    images = to_input(voxels, BODY, (0.0, 900.0), "mri", "inverted").numpy()[:, 0]
    np.testing.assert_allclose(images[:, 2:4, 3:10], -0.4, atol=1e-6)
    np.testing.assert_allclose(images[:, 4:6, 3:10], 0.5, atol=1e-6)
    assert (images[~INSIDE] == -1).all()
