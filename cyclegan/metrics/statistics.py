"""Statistics over subjects: confidence intervals of means, and comparisons of methods."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, permutation_test

CONFIDENCE = 0.95
BOOTSTRAP_RESAMPLES = 5000
Interval = tuple[float, float]

PERMUTATIONS = 9999
FEWEST_SUBJECTS = 3
"""Smallest number of subjects for an interval or a test."""


def mean_interval(values: Sequence[float], subjects: Sequence[str]) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of the mean over subjects (Efron 1979).

    Subjects are resampled, not volumes, because volumes of one subject are not independent. Each
    subject counts once, by the mean of its volumes. The draws are seeded, so equal inputs give
    equal intervals.

    Args:
        values: Score of each volume.
        subjects: Subject of each volume.

    Returns:
        (low, high); None with fewer than 3 subjects.
    """
    means = means_by_subject(values, subjects)
    if len(means) < 3:
        return None
    drawn = bootstrap(
        (means,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = drawn.confidence_interval
    return float(low), float(high)


def means_by_subject(values: Sequence[float], subjects: Sequence[str]) -> list[float]:
    """Return one mean per subject, in the order of their first volumes.

    Args:
        values: Score of each volume.
        subjects: Subject of each volume.
    """
    of_subject = defaultdict(list)
    for value, subject in zip(values, subjects, strict=True):
        of_subject[subject].append(value)
    return [float(np.mean(each)) for each in of_subject.values()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The difference of two methods' means, first minus second."""

    difference: float
    """Mean over the subjects, in the unit of the scores."""
    interval_95: Interval | None
    """Bootstrap interval of the difference (`mean_interval`)."""
    p: float | None
    """Two-sided; None with fewer than three subjects."""
    subjects: int
    """Number of subjects."""


def compare(first: Sequence[float], second: Sequence[float], subjects: Sequence[str]) -> Comparison:
    """Compare two methods by their scores of the same volumes.

    p is that of Fisher's sign-flip permutation test on the subjects' mean differences: exact if all
    flips can be tried (up to 13 subjects), else from 9999 seeded draws. With n subjects it is at
    least 2 / 2^n: four subjects cannot show a difference at 0.05.

    Args:
        first: Score of each volume by the first method.
        second: Score of each volume by the second method.
        subjects: Subject of each volume; at least one.
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
