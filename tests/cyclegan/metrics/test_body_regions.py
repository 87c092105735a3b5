"""The same HU at other places are another CT."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.stats import wasserstein_distance

from cyclegan.metrics.body_regions import (
    BIN_HU,
    DEPTH_EDGES_MM,
    NUM_ANGLES,
    NUM_HEIGHTS,
    BodyMap,
    bone_region_mismatch,
    region_distance_hu,
    region_histograms,
    regions_of,
)

SPACING_MM = (3.0, 2.0, 2.0)
BODY = np.ones((8, 9, 9), bool)
DEPTH = np.zeros(BODY.sum())
HEIGHT = np.arange(8) / 7


def by_part(places):
    """(depth, height, angle) of each voxel."""
    return np.unravel_index(places, (11, NUM_HEIGHTS, NUM_ANGLES))


def test_a_place_is_a_depth_a_height_and_a_direction():
    depth = np.linspace(0, 60, BODY.sum())
    found = by_part(regions_of(BODY, depth, SPACING_MM, HEIGHT))
    np.testing.assert_array_equal(
        found[0], np.digitize(depth, [3, 6, 9, 12, 16, 20, 25, 30, 40, 55])
    )
    height, angle = (part.reshape(BODY.shape) for part in found[1:])
    assert [set(height[z].ravel()) for z in range(8)] == [{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}]
    assert (angle[:, 0, 4] == 0).all()  # in front
    assert (angle[:, 8, 4] == NUM_ANGLES - 1).all()  # behind
    np.testing.assert_array_equal(angle, angle[:, :, ::-1])  # left is right


def blobs(shape=(12, 40, 36)):
    """A body of balls with holes, in a corner of the volume and cut by its border."""
    rng, grid = np.random.default_rng(4), np.indices(shape)
    body = np.zeros(shape, bool)
    for number in range(9):
        centre = (rng.uniform(0, n / 1.5) for n in shape)
        distance = sum((at - c) ** 2 for at, c in zip(grid, centre, strict=True))
        body[distance < rng.uniform(3, 9) ** 2] = number % 4 != 3
    return body


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 0.6, 0.9375)])
def test_depths_are_scipys_though_the_bodys_box_alone_is_looked_at(spacing_mm):
    body = blobs()
    oracle = distance_transform_edt(body, sampling=spacing_mm)[body]
    np.testing.assert_array_equal(BodyMap.of(body.astype(np.uint8), spacing_mm).depth_mm, oracle)


def test_regions_are_those_of_the_angle_in_closed_form():
    body = blobs()
    z, y, x = np.nonzero(body)
    middle_y, middle_x = (
        np.array([at[z == n].mean() if (z == n).any() else 0 for n in range(len(body))])
        for at in (y, x)
    )
    angle = np.arctan2(2 * np.abs(x - middle_x[z]), 2 * (middle_y[z] - y)) / np.pi
    height = (z - z.min()) / np.ptp(z)
    found = BodyMap.of(body, SPACING_MM)
    depth, high, wide = by_part(found.regions)
    np.testing.assert_array_equal(depth, np.digitize(found.depth_mm, DEPTH_EDGES_MM))
    np.testing.assert_array_equal(high, (height * NUM_HEIGHTS).astype(int).clip(max=7))
    np.testing.assert_array_equal(wide, (angle * NUM_ANGLES).astype(int).clip(max=5))


def test_heights_of_a_common_axis_are_those_of_the_regions():
    body = np.zeros((8, 9, 9), bool)
    body[2:6] = True

    own, common = (
        by_part(BodyMap.of(body, SPACING_MM, height).regions)[1].reshape(4, 81)[:, 0].tolist()
        for height in (None, np.linspace(0.5, 1, 8))
    )

    assert own == [0, 2, 5, 7]
    assert common == [5, 5, 6, 6]


def test_the_middle_of_a_slice_is_in_front():
    centre = by_part(regions_of(BODY, DEPTH, SPACING_MM, HEIGHT))[2].reshape(BODY.shape)[:, 4, 4]
    assert (centre == 0).all()


def test_no_body_has_no_regions():
    assert BodyMap.of(np.zeros((4, 5, 6), np.uint8), SPACING_MM).regions.shape == (0,)


def test_the_middle_is_the_bodys_and_not_the_pictures():
    aside = np.zeros((8, 20, 30), bool)
    aside[:, 9:18, 2:11] = True
    whole = regions_of(BODY, DEPTH, SPACING_MM, HEIGHT)
    np.testing.assert_array_equal(regions_of(aside, DEPTH, SPACING_MM, HEIGHT), whole)


def test_values_that_are_right_but_elsewhere_are_wrong():
    """The head is turned round: each value is still there, in front what was behind."""
    values = np.broadcast_to(np.linspace(-900, 900, 9)[:, None], BODY.shape).astype(float)
    places = regions_of(BODY, DEPTH, SPACING_MM, HEIGHT)
    real, turned = (region_histograms(v[BODY], places) for v in (values, values[:, ::-1]))
    assert region_distance_hu(real, real) == bone_region_mismatch(real, real) == 0
    assert region_distance_hu(turned, real) > 500
    assert bone_region_mismatch(turned, real) == 1


def test_the_distance_is_the_mean_of_scipys_over_places():
    rng = np.random.default_rng(2)
    places = rng.integers(0, 5, 3000)
    ours, theirs = rng.normal(0, 300, (2, 3000)) + 60 * places
    found = region_distance_hu(
        region_histograms(ours, places), region_histograms(theirs + 150, places)
    )

    def binned(values):
        return np.floor((values.clip(-1024, 3071) + 1024) / BIN_HU) * BIN_HU

    oracle = [
        (places == place).mean()
        * wasserstein_distance(binned(ours[places == place]), binned(theirs[places == place] + 150))
        for place in range(5)
    ]
    assert found == pytest.approx(sum(oracle), rel=1e-9)


def test_places_that_one_side_has_not_do_not_count():
    here, there = np.zeros(100, np.intp), np.full(100, 7)
    real = region_histograms(np.full(100, 40.0), here)
    ours = region_histograms(np.full(200, 40.0), np.concatenate([here, there]))
    assert region_distance_hu(ours, real) == 0
    assert bone_region_mismatch(ours, real) == 0


def test_all_of_one_value_has_the_same_places():
    rng = np.random.default_rng(3)
    placed = region_histograms(rng.normal(100, 400, 500), rng.integers(0, 9, 500))
    constant = placed.all_of(40.0)
    np.testing.assert_array_equal(constant.hu.sum(axis=1), placed.hu.sum(axis=1))
    assert constant.bone.sum() == 0
    assert placed.all_of(900.0).bone.sum() == 500
