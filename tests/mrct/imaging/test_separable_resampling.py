"""Resampling by a matrix per axis gives what MONAI, SciPy and plain indexing give."""

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from scipy import ndimage

from mrct.imaging.separable_resampling import pick, route, sample

RANDOM = np.random.default_rng(0)
VOXELS = RANDOM.normal(0, 100, (9, 14, 17)).astype(np.float32)
TARGET = (11, 40, 37)
NO_SMOOTHING = np.zeros(3)


def way_of(order, signs) -> np.ndarray:
    """Steps of 0.37 to 1.6 voxels along the axes of VOXELS in another order, beyond both ends."""
    way = np.eye(4)
    way[:3, :3] = 0
    for own, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        step = (1.31, 0.47, 0.53)[axis]
        way[axis, own] = sign * step
        middle = (VOXELS.shape[axis] - 1) / 2 + 0.21
        way[axis, 3] = middle - sign * step * (TARGET[own] - 1) / 2
    return way


def coordinates(way) -> np.ndarray:
    """[3, z, y, x]: where the target's voxels lie in VOXELS."""
    z, y, x = np.indices(TARGET)
    return np.tensordot(way, np.stack([z, y, x, np.ones_like(x)]), axes=1)[:3]


WAYS = [
    way_of(order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("way", WAYS)
def test_linear_sampling_agrees_with_monai_in_all_48_orientations(way):
    at = coordinates(way)
    inside = np.all(
        [(c >= -0.5) & (c <= n - 0.5) for c, n in zip(at, VOXELS.shape, strict=True)], axis=0
    )
    image = MetaTensor(torch.from_numpy(VOXELS)[None], affine=torch.eye(4))
    oracle = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)(
        image, dst_affine=torch.from_numpy(way), spatial_size=TARGET
    )[0].numpy()

    along = route(way, VOXELS.shape, TARGET)
    result = sample(VOXELS, along, sigmas=NO_SMOOTHING, order=1, fill=-7)

    np.testing.assert_allclose(result, np.where(inside, oracle, -7), atol=2e-3)
    assert 0.1 < inside.mean() < 0.9
    nearest = np.rint(at).astype(int)
    mask = VOXELS > 20
    clipped = tuple(c.clip(0, n - 1) for c, n in zip(nearest, VOXELS.shape, strict=True))
    np.testing.assert_array_equal(pick(mask, along), mask[clipped] & inside)


@pytest.mark.parametrize("order", [1, 3])
def test_smoothing_and_splines_agree_with_scipy(order):
    way, sigmas = WAYS[13], np.array([0.9, 0.0, 1.7])
    smooth = ndimage.gaussian_filter(VOXELS.astype(float), sigmas, mode="nearest")
    at = np.stack([c.clip(0, n - 1) for c, n in zip(coordinates(way), VOXELS.shape, strict=True)])
    oracle = ndimage.map_coordinates(smooth, at, order=order, mode="nearest")

    along = route(way, VOXELS.shape, TARGET)
    result = sample(VOXELS, along, sigmas=sigmas, order=order, fill=0)

    z, y, x = along.reached
    part = np.ix_(np.flatnonzero(z), np.flatnonzero(y), np.flatnonzero(x))
    np.testing.assert_allclose(result[part], oracle[part], atol=2e-3)


def test_whole_numbers_and_views_are_taken_as_they_are():
    whole = np.rint(VOXELS).astype(np.int16)
    along = route(np.eye(4), VOXELS.shape, VOXELS.shape)

    result = sample(whole[::-1], along, sigmas=NO_SMOOTHING, order=1, fill=0)

    np.testing.assert_array_equal(result, whole[::-1])


def test_no_axis_that_is_parallel_to_none_is_taken_for_one():
    turned = np.eye(4)
    turned[1, 2] = 1e-3 / TARGET[2]
    assert route(turned, VOXELS.shape, TARGET) is None
    twice = np.eye(4)
    twice[:3, :3] = [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert route(twice, VOXELS.shape, TARGET) is None
