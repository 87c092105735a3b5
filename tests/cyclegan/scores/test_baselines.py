"""The baselines need no network, and no CT of the subject they are made for."""

import numpy as np
from skimage.exposure import match_histograms

from cyclegan.scores.baselines import constant_soft_tissue, matched_histogram
from cyclegan.scores.unpaired import population_of

RNG = np.random.default_rng(2)
BODY = np.zeros((4, 12, 12), np.uint8)
BODY[:, 2:-2, 2:-2] = 1
INSIDE = BODY == 1
MRI = RNG.integers(0, 60, BODY.shape).astype(np.int16)  # with ties
CT = RNG.normal(100, 400, BODY.shape).clip(-1024, 3071).astype(np.int16)


def test_soft_tissue_is_40_hu_in_air():
    assert set(constant_soft_tissue(BODY)[INSIDE]) == {40}
    assert set(constant_soft_tissue(BODY)[~INSIDE]) == {-1024}


def test_histogram_matching_is_scikit_images_inside_the_body_with_air_outside():
    matched = matched_histogram(MRI, BODY, population_of(CT, BODY, (3.0, 1.0, 1.0)))
    oracle = match_histograms(MRI[INSIDE], CT[INSIDE])
    np.testing.assert_allclose(matched[INSIDE], oracle, atol=1e-3)
    assert set(matched[~INSIDE]) == {-1024}


def test_matching_a_ct_to_its_own_population_changes_nothing():
    matched = matched_histogram(CT, BODY, population_of(CT, BODY, (3.0, 1.0, 1.0)))
    np.testing.assert_array_equal(matched, np.where(INSIDE, CT, -1024))
