"""Whether one method is better than another on the same subjects, or was lucky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test

from cyclegan.metrics.statistics import Interval, mean_interval, means_by_subject

PERMUTATIONS = 9999
FEWEST_SUBJECTS = 3
"""Subjects below which nothing can be said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The difference of two methods' means, first minus second."""

    difference: float
    interval_95: Interval | None
    p: float | None
    """Two-sided; None with fewer than three subjects."""
    subjects: int


def compare(first: Sequence[float], second: Sequence[float], subjects: Sequence[str]) -> Comparison:
    """Compare two methods' scores of the same volumes, volume by volume.

    p is that of Fisher's sign-flip permutation test on the subjects' mean differences: exact where
    all flips can be tried (up to 13 subjects), else from 9999 seeded draws. With n subjects it is
    never below 2 / 2^n: four heads cannot show a difference at 0.05.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    means = np.array(means_by_subject(differences, subjects))
    p = None
    if len(means) >= FEWEST_SUBJECTS:
        test = permutation_test(
            (means, np.zeros_like(means)),
            lambda a, b, axis: (a - b).mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=PERMUTATIONS,
            rng=np.random.default_rng(0),
        )
        p = float(test.pvalue)
    return Comparison(
        difference=float(means.mean()),
        interval_95=mean_interval(differences, subjects),
        p=p,
        subjects=len(means),
    )
