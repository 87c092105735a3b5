"""Where a baseline is better than the generator."""

from collections.abc import Iterator
from functools import partial

from cyclegan.evaluate.report.labels import LABELS, text_of
from cyclegan.evaluate.score_table import BASELINES, DETAIL, GENERATOR, PAIRED, Scores


def baseline_wins(scores: Scores) -> dict[str, list[str]]:
    """Return, by baseline, the paired scores in which its mean is better than the generator's.

    A mean error is better if it is closer to 0. Baselines that win nowhere are left out.
    """
    wins = {
        method: [
            metric
            for metric in (*PAIRED, *DETAIL)
            if (ours := scores.mean(metric)) is not None
            and (theirs := scores.mean(metric, method=method)) is not None
            and cost_of(metric, theirs) < cost_of(metric, ours)
        ]
        for method in BASELINES
    }
    return {method: metrics for method, metrics in wins.items() if metrics}


def sentences_of_wins(scores: Scores) -> Iterator[str]:
    """Yield a sentence per baseline that wins somewhere, with both values of each score."""
    for method, metrics in baseline_wins(scores).items():
        listed = "; ".join(
            f"{LABELS[metric].rsplit(' ', 1)[0]} {text_of(metric, theirs)} against "
            f"{text_of(metric, scores.mean(metric))}"
            for metric in metrics
            for theirs in [scores.mean(metric, method=method)]
        )
        yield f"The baseline {method!r} is better than {GENERATOR} in {listed}."


def best_mean(scores: Scores, metric: str) -> float | None:
    """Return the best mean of a score over all methods; None if none has it."""
    means = [scores.mean(metric, method=method) for method in scores.methods]
    return min(
        (mean for mean in means if mean is not None), key=partial(cost_of, metric), default=None
    )


def cost_of(metric: str, value: float) -> float:
    """Return a number that is lower for a better value of a score."""
    if LABELS[metric].endswith("↑"):
        return -value
    return value if LABELS[metric].endswith("↓") else abs(value)
