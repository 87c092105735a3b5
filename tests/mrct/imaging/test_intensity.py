"""Intensities go to [-1, 1] and back without loss, in numpy and in torch."""

import numpy as np
import pytest
import torch

from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import (
    MEDIAN_LEVEL,
    denormalise,
    invert_contrast,
    normalise,
    restore_contrast,
    robust_window,
)

HU = np.array([-3000, -1024, -1000, 0, 1023.5, 3071, 5000], np.float32)
X = np.linspace(-1, 1, 9, dtype=np.float32)
BODY = np.array([1, 1, 1, 0, 1, 0, 1, 1, 1], np.float32)


def test_hounsfield_units_have_known_places():
    expected = [-1, -1, -1 + 24 / 2047.5, -1 + 1024 / 2047.5, 0, 1, 1]
    np.testing.assert_allclose(normalise(HU, WINDOW_HU), expected, atol=1e-6)


def test_denormalise_undoes_normalise_inside_the_window():
    back = denormalise(normalise(HU, WINDOW_HU), WINDOW_HU)
    np.testing.assert_allclose(back, HU.clip(-1024, 3071), atol=1e-3)


def test_inverted_contrast_keeps_air_lowest_and_puts_dark_above_bright():
    y = invert_contrast(X, BODY)
    assert (y[BODY == 0] == -1).all()
    assert (np.diff(y[BODY == 1]) < 0).all()
    assert y[BODY == 1].min() == pytest.approx(-0.4)
    assert y[BODY == 1].max() == pytest.approx(0.5)


def test_restore_contrast_undoes_invert_contrast_inside_the_body():
    back = restore_contrast(invert_contrast(X, BODY), BODY)
    np.testing.assert_allclose(back, np.where(BODY == 1, X, -1), atol=1e-6)


def test_torch_gives_the_numbers_of_numpy():
    x, body = torch.from_numpy(X), torch.from_numpy(BODY)
    for ours, oracle in [
        (normalise(x * 400, (0.0, 300.0)), normalise(X * 400, (0.0, 300.0))),
        (denormalise(x, WINDOW_HU), denormalise(X, WINDOW_HU)),
        (invert_contrast(x, body), invert_contrast(X, BODY)),
        (restore_contrast(x, body), restore_contrast(X, BODY)),
    ]:
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.numpy(), oracle, atol=1e-4)


def test_the_median_of_the_body_is_at_one_level_of_the_window_that_starts_at_air():
    voxels = np.tile(np.arange(1000.0), (2, 1))
    body = np.ones_like(voxels)
    body[:, :200] = 0

    window = robust_window(voxels, body)

    assert window[0] == 0
    median = np.median(voxels[body > 0])
    assert normalise(median, window) == pytest.approx(2 * MEDIAN_LEVEL - 1)


def test_neither_fat_nor_a_contrast_agent_moves_the_mri_window():
    voxels = np.tile(np.arange(1000.0), (2, 1))
    bright = np.where(voxels > 900, 20 * voxels, voxels)

    body = np.ones_like(voxels)

    assert robust_window(bright, body) == robust_window(voxels, body)


def test_negative_values_of_an_earlier_tool_lie_in_the_mri_window():
    voxels = np.tile(np.arange(1000.0), (2, 1)) - 300

    low, high = robust_window(voxels, np.ones_like(voxels))

    assert low == pytest.approx(-295, abs=1)
    assert normalise(np.median(voxels), (low, high)) == pytest.approx(2 * MEDIAN_LEVEL - 1)
