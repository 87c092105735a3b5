"""A CT comes to lie over another one that is a deformed copy of it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from mrct.imaging.deformation import deform
from mrct.imaging.hounsfield import AIR_HU
from tests.support.stores import random_head

SPACING_MM = (3.0, 3.0, 3.0)
SHAPE = (32, 48, 48)


def smooth_head(shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """HU and body of a head whose edges are as soft as a real CT's on this grid."""
    head = random_head(np.random.default_rng(1), shape)
    hu = gaussian_filter(np.where(head["body"], head["ct"], AIR_HU).astype(np.float32), 0.7)
    return hu, head["body"]


def moved(values: np.ndarray, at: np.ndarray, fill: float) -> np.ndarray:
    return map_coordinates(values.astype(np.float32), at, order=1, cval=fill)


def known_deformation(shape: tuple[int, int, int]) -> np.ndarray:
    """Where each voxel of the deformed head lies in the first: shifted, stretched, with a bulge."""
    middle = (np.array(shape) - 1) / 2
    place = np.indices(shape).T - middle
    at = place * np.array([1.0, 1.06, 0.95]) + middle + np.array([0.6, -2.0, 1.5])
    at[..., 2] += 2.5 * np.exp(-(((place - np.array([0, 8, -8])) / 6) ** 2).sum(axis=-1) / 2)
    return at.T


def error(hu: np.ndarray, fixed: np.ndarray, body: np.ndarray) -> float:
    return float(np.abs(hu - fixed)[body].mean())


@pytest.fixture(scope="module")
def heads():
    hu, body = smooth_head()
    at = known_deformation(SHAPE)
    return hu, body, moved(hu, at, AIR_HU), moved(body, at, 0) > 0.5, at


def test_a_known_deformation_is_found(heads):
    hu, body, fixed, fixed_body, _ = heads

    found = deform(hu, body, fixed, fixed_body, spacing_mm=SPACING_MM)

    before, after = error(hu, fixed, fixed_body), error(found.hu, fixed, fixed_body)
    assert after < 0.25 * before
    assert found.seen[fixed_body].all()
    assert (found.body ^ fixed_body).sum() < 0.3 * (body ^ fixed_body).sum()


def test_equal_input_gives_equal_bits_whatever_the_threads(heads, monkeypatch):
    import SimpleITK

    hu, body, fixed, fixed_body, _ = (each[..., 8:24, :, :] for each in heads)
    threads = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    first = deform(hu, body, fixed, fixed_body, spacing_mm=SPACING_MM).hu
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    try:
        second = deform(hu, body, fixed, fixed_body, spacing_mm=SPACING_MM).hu
        assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == 2
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)

    np.testing.assert_array_equal(first, second)


def test_a_start_tells_where_a_far_one_lies(heads):
    hu, body, fixed, fixed_body, _ = heads
    far = np.concatenate([np.full((12, *SHAPE[1:]), AIR_HU, np.float32), hu])
    far_body = np.concatenate([np.zeros((12, *SHAPE[1:]), bool), body])

    found = deform(
        far, far_body, fixed, fixed_body, spacing_mm=SPACING_MM, shift_mm=(36.0, 0.0, 0.0)
    )

    assert error(found.hu, fixed, fixed_body) < 0.25 * error(hu, fixed, fixed_body)


def test_what_the_scan_does_not_show_is_not_seen_and_not_air(heads):
    hu, body, fixed, fixed_body, _ = heads

    found = deform(
        hu[10:], body[10:], fixed, fixed_body, spacing_mm=SPACING_MM, shift_mm=(-30.0, 0.0, 0.0)
    )

    assert not found.seen[:7].any()
    assert found.seen[13:][fixed_body[13:]].all()
    assert error(found.hu[13:], fixed[13:], fixed_body[13:]) < 0.3 * error(hu, fixed, fixed_body)
    inside = fixed_body & (np.arange(SHAPE[0]) == 8)[:, None, None]
    assert (found.hu[inside] > -500).mean() > 0.8  # the border continues below


def test_fine_voxels_and_thin_slabs_are_registered_too():
    hu, body = smooth_head((5, 96, 96))
    fixed, fixed_body = (np.roll(each, 6, axis=2) for each in (hu, body))

    found = deform(hu, body, fixed, fixed_body, spacing_mm=(3.0, 1.0, 1.0))

    assert error(found.hu, fixed, fixed_body) < 0.25 * error(hu, fixed, fixed_body)
