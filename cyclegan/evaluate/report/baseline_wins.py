"""What the generator learned, and where a baseline is better than it."""

from collections.abc import Iterator
from functools import partial

from cyclegan.evaluate.report.labels import LABELS, text_of
from cyclegan.evaluate.score_table import (
    AGAINST_ATLAS,
    BASELINES,
    DETAIL,
    LOOK_UP,
    PAIRED,
    Scores,
)
from cyclegan.inference.cycle import GENERATOR


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
    """Yield what a guided generator learned on top of its look-up.

    Then follows a sentence per baseline that wins somewhere, with both values of each score.
    """
    if changes := [
        f"{title_of(metric)} from {text_of(metric, before)} to {text_of(metric, after)}"
        for metric in (*PAIRED, *AGAINST_ATLAS)
        if (before := scores.mean(metric, method=LOOK_UP)) is not None
        and (after := scores.mean(metric)) is not None
    ]:
        yield f"What the network learned on top of its look-up: {'; '.join(changes)}."
    for method, metrics in baseline_wins(scores).items():
        listed = "; ".join(
            f"{title_of(metric)} {text_of(metric, theirs)} against "
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


def title_of(metric: str) -> str:
    """Return the label of a score without its direction."""
    return LABELS[metric].rsplit(" ", 1)[0]


def cost_of(metric: str, value: float) -> float:
    """Return a number that is lower for a better value of a score."""
    if LABELS[metric].endswith("↑"):
        return -value
    return value if LABELS[metric].endswith("↓") else abs(value)
