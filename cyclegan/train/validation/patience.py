"""Early end of a run whose validations have stopped getting better."""

from collections.abc import Sequence
from math import inf

from cyclegan.metrics.selection_score import SELECTION
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from mrct.storage.paths import StoragePath


def is_out_of_patience(scores: Sequence[float], patience: int) -> bool:
    """Return whether the last `patience` validations were no better than an earlier one.

    Args:
        scores: `val/selection` of all validations of a run, in order; lower is better.
        patience: Number of validations; 0: a run never ends early.

    Examples:
        >>> is_out_of_patience([3.0, 1.0, 2.0, 1.0], patience=2)
        True
        >>> is_out_of_patience([3.0, 1.0, 2.0, 0.9], patience=2)
        False
    """
    if not 0 < patience < len(scores):
        return False
    return min(scores[-patience:]) >= min(scores[:-patience])


def past_scores(run_folder: StoragePath, step: int) -> dict[int, float]:
    """Return `val/selection` of the run's validations up to a step, by step; infinite if it was not
    finite."""
    return {
        line["step"]: inf if line[SELECTION] is None else line[SELECTION]
        for line in read_lines(run_folder / METRICS)
        if SELECTION in line and line["step"] <= step
    }
