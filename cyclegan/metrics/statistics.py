"""How far a mean could be off because other subjects would have been scanned."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
BOOTSTRAP_RESAMPLES = 5000
Interval = tuple[float, float]


def mean_interval(values: Sequence[float], subjects: Sequence[str]) -> Interval | None:
    """The 95 % percentile bootstrap interval of the mean over subjects (Efron 1979).

    Subjects are drawn, not volumes: two volumes of one head are no two heads. Each subject counts
    once, by the mean of its volumes. None with fewer than 3 subjects, where it would be a guess.
    The draws are seeded: equal input gives the equal interval.
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
    """One mean per subject, in the order in which they first come."""
    of_subject = defaultdict(list)
    for value, subject in zip(values, subjects, strict=True):
        of_subject[subject].append(value)
    return [float(np.mean(each)) for each in of_subject.values()]
