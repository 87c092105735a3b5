"""Intervals are over subjects: more volumes of the same heads make no one surer."""

import numpy as np
import pytest
from scipy import stats

from cyclegan.metrics.statistics import mean_interval


def test_many_subjects_give_the_normal_interval():
    values = np.random.default_rng(0).normal(100, 20, 400)
    low, high = mean_interval(values.tolist(), [f"s{i}" for i in range(400)])
    error = stats.sem(values)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.3
    )


def test_repeating_each_head_ten_times_changes_nothing():
    values, subjects = [80.0, 95.0, 130.0, 99.0], list("abcd")
    assert mean_interval(values * 10, subjects * 10) == mean_interval(values, subjects)


def test_two_subjects_are_too_few_however_many_volumes_they_have():
    assert mean_interval([1.0, 2.0, 3.0, 4.0], ["a", "b", "a", "b"]) is None


def test_equal_subjects_give_an_interval_of_no_width():
    assert mean_interval([5.0, 5.0, 5.0], ["a", "b", "c"]) == (5, 5)
