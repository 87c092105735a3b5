"""Similarity is that of torchmetrics, and of the SynthRAD2025 evaluation, which no library has."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from cyclegan.metrics.ssim import (
    SCALE_WEIGHTS,
    components,
    counted_box,
    downsample,
    moments,
    multiscale_similarity,
    padding_of,
    similarity,
    slice_similarity,
)

# What `ms_ssim` of the challenge's image_metrics.py (SynthRAD2025/evaluation, commit 17cac47)
# returned for these arrays, run once with numpy 2.4.6, scipy 1.17.1 and scikit-image 0.26.0.
PUBLISHED = {
    ((20, 40, 36), 150): 0.9882037740335562,
    ((97, 97, 97), 150): 0.9774181923441605,
    ((100, 120, 98), 600): 0.9117950696980468,
    ((33, 128, 121), 600): 0.9099976277296046,
}


def heads(shape, noise_hu):
    """Two CTs in HU and a body, an ellipsoid of 0.9 of each side."""
    rng = np.random.default_rng(5)
    z, y, x = np.indices(shape)
    real = 1000 * np.sin(z / 5) + 400 * np.cos(y / 7 + x / 9) + rng.normal(0, 60, shape)
    synthetic = real + rng.normal(0, noise_hu, shape) + 200 * np.sin(x / 11)
    distance = sum(
        ((index - (n - 1) / 2) / (0.45 * n)) ** 2 for index, n in zip((z, y, x), shape, strict=True)
    )
    return synthetic, real, distance < 1


def shifted(hu, body):
    return np.where(body, hu.clip(-1024, 3071) + 1024, 0.0)


def slices(shape, differing):
    """Two stacks of slices in [-1, 1], equal to -1 but for a part."""
    rng = np.random.default_rng(7)
    x, y = np.full((2, *shape), -1.0, np.float32)
    x[differing] = rng.uniform(-1, 1, x[differing].shape)
    y[differing] = (x[differing] + rng.normal(0, 0.3, x[differing].shape)).clip(-1, 1)
    return x, y


@pytest.mark.parametrize(
    ("shape", "differing"),
    [
        ((11, 64, 48), np.s_[2:9, 15:40, 12:30]),  # a head in air
        ((9, 40, 64), np.s_[:]),  # up to the border, where slices are mirrored
        ((2, 40, 64), np.s_[1, :9, -7:]),  # in a corner
        ((1, 11, 12), np.s_[:]),
    ],
)
def test_slices_are_as_similar_as_in_torchmetrics(shape, differing):
    x, y = slices(shape, differing)
    oracle = structural_similarity_index_measure(
        *(torch.from_numpy(each[:, None]).double() for each in (x, y)), data_range=2.0
    )
    assert oracle < 0.99995
    assert slice_similarity(x, y) == pytest.approx(float(oracle), abs=1e-6)


def test_equal_slices_are_wholly_similar():
    x, _ = slices((3, 20, 20), np.s_[:])
    assert slice_similarity(x, x) == 1


@pytest.mark.parametrize("shape", [(7, 20, 18), (9, 8, 30), (4, 12, 12), (20, 3, 2), (2, 9, 5)])
def test_windows_are_those_of_scipys_filter(shape):
    """Thin volumes are mirrored, again and again if need be."""
    synthetic, real, body = heads(shape, 150)
    body |= np.random.default_rng(2).random(shape) < 0.5
    x, y = shifted(synthetic, body), shifted(real, body)
    box, counted = counted_box(body)
    m = moments(x[box], y[box])
    c1, c2 = 40.95**2, 122.85**2
    oracle = (2 * m.mean_x * m.mean_y + c1) / (m.mean_x**2 + m.mean_y**2 + c1)
    oracle *= (2 * m.covariance + c2) / (m.variance_x + m.variance_y + c2)
    assert similarity(x, y, body, 4095.0) == pytest.approx(oracle[counted].mean(), abs=1e-12)


@pytest.mark.parametrize(("shape", "noise_hu"), PUBLISHED)
def test_it_gives_what_the_challenge_gives(shape, noise_hu):
    synthetic, real, body = heads(shape, noise_hu)
    found = multiscale_similarity(shifted(synthetic, body), shifted(real, body), body, 4095.0)
    assert found == pytest.approx(PUBLISHED[shape, noise_hu], rel=1e-9)


def test_the_weights_are_the_published_ones_and_sum_to_one():
    assert sum(SCALE_WEIGHTS) == pytest.approx(1, abs=2e-4)  # as printed, to four digits


@pytest.mark.parametrize(("size", "expected"), [(97, (0, 0)), (96, (0, 1)), (20, (38, 39))])
def test_padding_makes_97_voxels_with_the_odd_one_behind(size, expected):
    assert padding_of(size) == expected


def test_the_next_scale_pairs_each_voxel_with_the_one_before_it():
    line = np.array([8.0, 2.0, 4.0, 6.0, 10.0]).reshape(5, 1, 1)
    # along z: (0 + 8)/2, (2 + 4)/2, (6 + 10)/2; along y and x: each with the 0 before it
    np.testing.assert_array_equal(downsample(line).ravel(), np.array([4.0, 3.0, 8.0]) / 4)


def test_only_the_mask_counts_and_not_the_outer_three_voxels():
    body = np.zeros((20, 9, 9), bool)
    body[7, 4, 3:5] = body[0] = True
    box, counted = counted_box(body)
    assert np.argwhere(counted).tolist() == [[3, 3, 3], [3, 3, 4]]  # in the box
    assert box == (slice(4, 11), slice(1, 8), slice(0, 8))  # a window around each of the two


def test_a_body_in_the_outer_voxels_alone_has_a_score():
    x = np.random.default_rng(1).uniform(0, 4000, (20, 20, 20))
    body = np.zeros(x.shape, bool)
    body[0, 8:12, 8:12] = True
    assert similarity(x, x, body, 4095.0) == pytest.approx(1)


def test_a_body_that_vanishes_at_a_scale_has_no_multiscale_score():
    x = np.random.default_rng(1).uniform(0, 4000, (97, 97, 97))
    body = np.zeros(x.shape, bool)
    body[51, 40:60, 40:60] = True  # an odd slice: gone at the second scale
    assert multiscale_similarity(x, x, body, 4095.0) is None


@pytest.mark.parametrize("z", [slice(0, 9), slice(2, 6), slice(6, 20)])
def test_air_around_the_body_costs_nothing_and_changes_nothing(z):
    """Only the box that the body's windows reach into is looked at."""
    synthetic, real, body = heads((20, 40, 36), 150)
    body[: z.start] = body[z.stop :] = False
    x, y = shifted(synthetic, body), shifted(real, body)
    whole = components(x, y, 4095.0)[3:-3, 3:-3, 3:-3][body[3:-3, 3:-3, 3:-3]]
    box, counted = counted_box(body)
    np.testing.assert_allclose(components(x[box], y[box], 4095.0)[counted], whole, atol=1e-9)


def test_the_three_components_make_the_single_scale_formula_where_none_is_clipped():
    rng = np.random.default_rng(3)
    x = rng.uniform(500, 3000, (16, 16, 16))
    y = x + rng.normal(0, 100, x.shape)
    everywhere = np.ones(x.shape, bool)
    product = components(x, y, 4095.0)[3:-3, 3:-3, 3:-3].mean()
    assert product == pytest.approx(similarity(x, y, everywhere, 4095.0), rel=1e-12)


def test_opposite_structure_gives_zero_and_not_a_complex_number():
    x = np.random.default_rng(1).uniform(0, 4000, (97, 97, 97))
    everywhere = np.ones(x.shape, bool)
    assert multiscale_similarity(x, 4000 - x, everywhere, 4095.0) < 0.05
