"""The atlas is the mean and the median of what lies at a position, and needs the mask alone."""

import numpy as np
import pytest

from cyclegan.atlas.atlas import ATLAS_BIN_HU, atlas_of, train_atlas
from cyclegan.atlas.scans import Scan
from cyclegan.errors import DataError
from tests.support.stores import make_store

Y, X = np.mgrid[:64, :64]
RADIUS = np.hypot(Y - 32, X - 31.5)
BODY = np.broadcast_to(RADIUS < 28, (8, 64, 64))
HEIGHT = np.arange(8) / 7
PIXEL_MM = (3.75, 3.75)


def uniform(hu: float) -> Scan:
    return np.full(BODY.shape, hu), BODY, HEIGHT, PIXEL_MM


def test_of_equal_cts_both_are_their_value_and_air_outside():
    mean, median = atlas_of([uniform(300)] * 3).both(BODY, HEIGHT)

    for hu in (mean, median):
        assert hu[BODY] == pytest.approx(300, abs=ATLAS_BIN_HU)
        assert set(hu[~BODY]) == {-1024}


def test_the_mean_and_the_median_of_three_people():
    mean, median = atlas_of(map(uniform, (0, 40, 1000))).both(BODY, HEIGHT)

    assert mean[BODY] == pytest.approx(1040 / 3, abs=ATLAS_BIN_HU / 2)
    assert median[BODY] == pytest.approx(40, abs=ATLAS_BIN_HU)


def test_a_ring_stays_at_its_depth_in_a_wider_head():
    hu = np.where(RADIUS > 24, -90.0, np.where(RADIUS > 18, 900.0, 40.0))
    atlas = atlas_of([(np.broadcast_to(hu, BODY.shape), BODY, HEIGHT, PIXEL_MM)])
    wide = np.broadcast_to(np.hypot(Y - 32, (X - 31.5) * 28 / 31) < 28, BODY.shape)

    found = atlas.mean(wide, HEIGHT)

    middle = found[4, 32]
    assert middle[2:5].mean() < 0
    assert middle[7:10].mean() > 600
    assert middle[28:36] == pytest.approx(40, abs=60)


def test_a_position_that_no_ct_has_takes_the_nearest_one():
    lower = BODY.copy()
    lower[4:] = False
    low = atlas_of([(np.full(BODY.shape, 200.0), lower, HEIGHT, PIXEL_MM)])

    mean, median = low.both(BODY, HEIGHT)

    assert mean[BODY] == pytest.approx(200, abs=ATLAS_BIN_HU)
    assert median[BODY] == pytest.approx(200, abs=ATLAS_BIN_HU)


def test_the_train_atlas_sees_the_train_split_alone(tmp_path):
    both = ("train", "test")
    store = make_store(tmp_path / "s.zarr", mri=0, ct=4, shape=(4, 32, 32), splits=both)
    train = store.select("ct", "train")

    pixel_mm = store.spacing_mm[1:]
    expected = atlas_of((store.voxels(v), store.body(v), v.height, pixel_mm) for v in train)

    np.testing.assert_array_equal(train_atlas(store).mean_hu, expected.mean_hu)
    (other, *_) = store.select("ct", "test")
    alone = atlas_of([(store.voxels(other), store.body(other), other.height, pixel_mm)])
    assert not np.array_equal(train_atlas(store).mean_hu, alone.mean_hu)


def test_without_a_ct_there_is_no_atlas(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=0, shape=(4, 32, 32))
    with pytest.raises(DataError, match="no CT to make an atlas of"):
        train_atlas(store)
    with pytest.raises(ValueError, match="nothing to make an atlas of"):
        atlas_of([(np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), np.array([0.0, 1.0]), PIXEL_MM)])
