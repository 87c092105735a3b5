"""Histograms of HU differ by what the average voxel must move, tissue by tissue too."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from cyclegan.metrics.histogram import distance_hu, histogram_of, tissue_distances_hu

RNG = np.random.default_rng(7)
REAL = np.concatenate([RNG.normal(m, s, 4000) for m, s in ((-950, 20), (35, 30), (1100, 200))])
REAL = np.rint(REAL.clip(-1024, 3071))


def test_it_is_scipys_wasserstein_distance():
    other = RNG.integers(-1024, 3072, 500)
    oracle = wasserstein_distance(other, REAL)
    assert distance_hu(histogram_of(other), histogram_of(REAL)) == pytest.approx(oracle, rel=1e-9)


def test_each_tissue_is_compared_with_itself_whatever_its_share():
    """Half of the bone is missing and the rest too dense; all else is as it was."""
    bone = REAL > 250
    synthetic = np.concatenate([REAL[~bone], REAL[bone][::2] + 80])
    found = tissue_distances_hu(histogram_of(synthetic), histogram_of(REAL))
    expected = wasserstein_distance(REAL[bone][::2] + 80, REAL[bone])
    assert found == {"air": 0, "soft": 0, "bone": pytest.approx(expected, rel=1e-9)}
    assert 70 < expected < 90


def test_a_tissue_that_one_side_lacks_is_left_out():
    soft = histogram_of(REAL[np.abs(REAL) < 200])
    assert set(tissue_distances_hu(soft, histogram_of(REAL))) == {"soft"}


def test_the_limits_of_tissues_are_soft_tissue():
    at, beyond = histogram_of(np.array([-200, 250])), histogram_of(np.array([-201, 251]))
    assert set(tissue_distances_hu(at, at)) == {"soft"}
    assert set(tissue_distances_hu(beyond, beyond)) == {"air", "bone"}
