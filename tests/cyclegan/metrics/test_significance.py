"""A difference counts only if it holds from subject to subject."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cyclegan.metrics.statistics import compare

SUBJECTS = [f"s{number}" for number in range(8)]


def test_p_is_the_share_of_sign_flips_that_do_as_well():
    rng = np.random.default_rng(4)
    first, second = rng.normal(100, 10, 8), rng.normal(92, 10, 8)
    flips = np.array(list(itertools.product([1, -1], repeat=8)))
    means = (flips * (first - second)).mean(axis=1)
    by_hand = 2 * (means >= (first - second).mean() - 1e-12).mean()
    found = compare(first.tolist(), second.tolist(), SUBJECTS)
    assert found.p == pytest.approx(by_hand)
    assert found.difference == pytest.approx((first - second).mean())


def test_with_many_subjects_it_agrees_with_the_paired_t_test():
    rng = np.random.default_rng(5)
    first = rng.normal(100, 10, 60)
    second = first - rng.normal(1.5, 5, 60)
    found = compare(first.tolist(), second.tolist(), [str(n) for n in range(60)])
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.01)


def test_a_method_is_no_better_than_itself():
    values = [80.0, 90.0, 100.0, 70.0, 60.0, 88.0, 93.0, 79.0]
    found = compare(values, values, SUBJECTS)
    assert (found.difference, found.p) == (0, 1)


def test_the_same_head_scanned_eight_times_shows_nothing():
    found = compare([1.0] * 8, [9.0] * 8, ["s"] * 8)
    assert found.subjects == 1
    assert found.p is None
    assert found.interval_95 is None


def test_four_heads_cannot_be_significant_at_a_twentieth():
    assert compare([1.0] * 4, [9.0] * 4, list("abcd")).p == pytest.approx(2 / 2**4)
