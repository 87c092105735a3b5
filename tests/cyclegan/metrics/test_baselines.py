"""The baselines need no network, and no CT of the subject they are made for."""

import numpy as np
from scipy import stats
from skimage.exposure import match_histograms

from cyclegan.metrics.baselines import constant_soft_tissue, match_histogram, regression_of
from cyclegan.metrics.unpaired_scores import ct_statistics_of

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
    matched = match_histogram(MRI, BODY, ct_statistics_of(CT, BODY, (3.0, 1.0, 1.0)))
    oracle = match_histograms(MRI[INSIDE], CT[INSIDE])
    np.testing.assert_allclose(matched[INSIDE], oracle, atol=1e-3)
    assert set(matched[~INSIDE]) == {-1024}


def test_matching_a_ct_to_its_own_population_changes_nothing():
    matched = match_histogram(CT, BODY, ct_statistics_of(CT, BODY, (3.0, 1.0, 1.0)))
    np.testing.assert_array_equal(matched, np.where(INSIDE, CT, -1024))


def pair(seed, slope):
    rng = np.random.default_rng(seed)
    mri = rng.uniform(-1, 1, BODY.shape).astype(np.float32)
    return mri, (slope * mri).astype(np.float32)


def test_a_regression_finds_the_mean_hu_of_each_intensity():
    mri, real = pair(1, 800)
    fit = regression_of(mri, real, BODY)
    other, truth = pair(2, 800)
    predicted = fit.predict(other, BODY)
    assert np.abs(predicted - truth)[INSIDE].max() < 800 * 2 * (2 / 256)  # a bin on either side
    assert set(predicted[~INSIDE]) == {-1024}


def test_two_pairs_together_are_the_binned_means_of_scipy():
    (mri_a, real_a), (mri_b, real_b) = pair(1, 800), pair(2, -300)
    both = regression_of(mri_a, real_a, BODY) + regression_of(mri_b, real_b, BODY)
    mri, real = np.append(mri_a[INSIDE], mri_b[INSIDE]), np.append(real_a[INSIDE], real_b[INSIDE])
    means, _, _ = stats.binned_statistic(mri, real, "mean", 256, (-1, 1))
    seen = both.count > 0
    np.testing.assert_allclose(both.hu[seen] / both.count[seen], means[seen], rtol=1e-5, atol=1e-4)
