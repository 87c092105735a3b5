"""Slices that do not belong together and textures that no scanner makes are told by numbers."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cyclegan.metrics.texture import (
    _HU_EDGES,
    _STEP_EDGES,
    kernel_distance,
    roughness_of,
    roughness_ratio,
    slice_features,
)

RNG = np.random.default_rng(8)
SHAPE = (12, 24, 24)
EVERYWHERE = np.ones(SHAPE, bool)
Z, Y, X = np.indices(SHAPE).astype(np.float32)


def test_roughness_sums_steps_along_z_and_in_plane():
    ramp = 5 * Z + 2 * Y + 4 * X
    voxels = 11 * 23 * 23
    np.testing.assert_allclose(
        roughness_of(ramp, EVERYWHERE), [5 * voxels, 3 * voxels, voxels], rtol=1e-6
    )


def test_only_voxels_whose_neighbours_are_inside_count():
    body = np.zeros(SHAPE, bool)
    body[3:5, 6:8, 6:8] = True
    assert roughness_of(np.where(body, 0, 1e4), body).tolist() == [0, 0, 1]


def test_an_offset_for_each_slice_raises_the_ratio_and_a_blur_in_plane_does_not_lower_it():
    real = 40 * np.sin(Z / 3) + 60 * np.sin(Y / 4) + 30 * np.cos(X / 5)
    jumpy = real + RNG.normal(0, 40, (SHAPE[0], 1, 1))
    sums = roughness_of(real, EVERYWHERE)
    assert roughness_ratio(sums, sums) == 1
    assert roughness_ratio(roughness_of(jumpy, EVERYWHERE), sums) > 1.5
    assert roughness_ratio(roughness_of(real / 2, EVERYWHERE), sums) == pytest.approx(1)


def test_features_are_shares_of_the_body():
    hu = np.where(X < 12, 30.0, 500.0)
    features = slice_features(hu, EVERYWHERE)
    assert features.shape == (12, 32)
    np.testing.assert_allclose(features[:, :16].sum(axis=1), 1)
    np.testing.assert_allclose(features[:, 16:].sum(axis=1), 1)
    assert sorted(features[0, :16])[-2:] == [0.5, 0.5]


def test_features_are_numpys_histograms():
    """Values on the edges of bins, fractions below zero, and values beyond the window."""
    hu = RNG.normal(0, 800, SHAPE).astype(np.float32)
    hu[:, :4] = RNG.choice(np.r_[_HU_EDGES, -0.5, -20.25, -4000, 4000], (12, 4, 24))
    hu[:, 4:6, ::2], hu[:, 4:6, 1::2] = 3071, -1024
    body = RNG.random(SHAPE) < 0.7
    for image, mask, found in zip(
        hu.clip(-1024, 3071), body, slice_features(hu, body), strict=True
    ):
        steps = (np.diff(image, axis=a, append=image.take([-1], axis=a)) for a in (0, 1))
        pairs = (image, _HU_EDGES), (np.hypot(*steps), _STEP_EDGES)
        oracle = [np.histogram(values[mask], edges)[0] / mask.sum() for values, edges in pairs]
        np.testing.assert_allclose(found, np.concatenate(oracle), rtol=1e-6)


def test_roughness_equals_sums_over_the_whole_volume():
    hu = RNG.normal(0, 300, SHAPE)
    body = RNG.random(SHAPE) < 0.8
    first = np.s_[:-1, :-1, :-1]
    after = [np.s_[1:, :-1, :-1], np.s_[:-1, 1:, :-1], np.s_[:-1, :-1, 1:]]
    here = np.logical_and.reduce([body[part] for part in (first, *after)])
    z, y, x = (np.abs(hu[part] - hu[first])[here].sum() for part in after)
    np.testing.assert_allclose(roughness_of(hu, body), [z, (y + x) / 2, here.sum()], rtol=1e-6)


def test_slices_with_hardly_any_body_are_left_out():
    body = EVERYWHERE.copy()
    body[:5] = False
    assert len(slice_features(Z, body)) == 7


def test_kernel_distance_equals_the_sums_of_gretton():
    a, b = RNG.normal(0, 1, (7, 32)), RNG.normal(0.4, 1, (9, 32))
    within = cdist(b, b, "sqeuclidean")
    width = np.median(within[np.triu_indices(9, 1)])
    k_aa, k_bb, k_ab = (
        np.exp(-cdist(*pair, "sqeuclidean") / (2 * width)) for pair in ((a, a), (b, b), (a, b))
    )
    by_hand = (
        (k_aa.sum() - np.trace(k_aa)) / (7 * 6)
        + (k_bb.sum() - np.trace(k_bb)) / (9 * 8)
        - 2 * k_ab.mean()
    )
    found = kernel_distance(a.astype(np.float32), b.astype(np.float32))
    assert found == pytest.approx(by_hand, rel=1e-5)


def test_kernel_distance_is_near_zero_for_one_population_and_large_for_two():
    def draw(mean):
        return RNG.normal(mean, 1, (200, 32)).astype(np.float32)

    assert abs(kernel_distance(draw(0), draw(0))) < 0.01
    assert kernel_distance(draw(0), draw(1.5)) > 0.3


def test_one_slice_has_no_distance():
    assert kernel_distance(np.zeros((1, 32), np.float32), np.zeros((5, 32), np.float32)) is None
