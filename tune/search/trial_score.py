"""The objective of a search: one of the validation scores, and its better direction."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from cyclegan.errors import ConfigError
from cyclegan.metrics.selection_score import SELECTION, higher_is_better
from data_prep.store.store import Store

SCORES = (
    "val/selection",
    "val/mae_hu",
    "val/hu_distance",
    "val/hu_place_distance",
    "val/bone_depth_mismatch",
    "val/bone_place_mismatch",
    "val/psnr_db",
    "val/ssim",
    "val/bone_dice",
    "val/cycle_ssim_mri",
    "val/cycle_ssim_ct",
    "val/cycle_psnr_db_mri",
    "val/cycle_psnr_db_ct",
)
PAIRED_TAGS = ("val/mae_hu", "val/psnr_db", "val/ssim", "val/bone_dice")
"""Scores that need an MRI and a CT of one subject in the val split."""
MAE = "val/mae_hu"
PROVEN_CORRELATION = 0.8
"""Rank correlation with the true error across runs from which on a score without pairs may compare
them; benchmarks/selection.py found less for all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A score by its name in `metrics.jsonl`."""

    metric: str = SELECTION

    @property
    def mode(self) -> Literal["min", "max"]:
        """Return whether the score is minimised or maximised."""
        return "max" if higher_is_better(self.metric) else "min"

    @property
    def needs_pairs(self) -> bool:
        """Return whether the score compares synthetic with real CTs."""
        return self.metric in PAIRED_TAGS

    @property
    def doubt(self) -> str:
        """Return what has to be said of a ranking by this score; empty for a score of pairs."""
        if self.needs_pairs:
            return ""
        return (
            f"Unproven: trials are ranked by {self.metric}, which sees no pair of MRI and CT. "
            f"Nobody has shown that such a score ranks runs as their true error does (rank "
            f"correlation of {PROVEN_CORRELATION} or more; docs/evaluation.md). With pairs in the "
            "val split a search ranks by mae_hu."
        )

    @property
    def direction(self) -> str:
        """Return the direction as text."""
        return "higher is better" if self.mode == "max" else "lower is better"

    @property
    def worst(self) -> float:
        """Return the value for a score that is not finite."""
        return -inf if self.mode == "max" else inf

    def cost(self, score: float | None) -> float:
        """Return a sort key: lower is better for every metric, and infinite without a score."""
        if score is None or not isfinite(score):
            return inf
        return -score if self.mode == "max" else score

    def best(self, scores: list[float | None]) -> float | None:
        """Return the best score; None if none is finite."""
        finite = [score for score in scores if self.cost(score) < inf]
        return min(finite, key=self.cost, default=None)


def objective_for(store: Store, metric: str = "") -> Objective:
    """Return the objective of a metric; by default the masked MAE if the val split has pairs, else
    the selection score, which needs none.

    Raises:
        ConfigError: There is no such score, or the store lacks the volumes to compute it.
    """
    paired = has_pairs(store)
    if not metric:
        return Objective(metric=MAE if paired else SELECTION)
    name = metric if metric.startswith("val/") else f"val/{metric}"
    has_ct = bool(store.select("ct", "val"))
    there = [
        each
        for each in SCORES
        if (paired or each not in PAIRED_TAGS) and (has_ct or not each.endswith("_ct"))
    ]
    if name in there:
        return Objective(metric=name)
    if name in PAIRED_TAGS:
        why = "it compares synthetic with real CTs, and the val split has no pair of MRI and CT"
    elif name in SCORES:
        why = "the val split has no CT"
    else:
        why = "validation has no such score"
    raise ConfigError(
        f"The metric {metric!r} cannot be used for a search: {why}. Metrics that this store "
        f"allows: {', '.join(each.removeprefix('val/') for each in there)}."
    )


def has_pairs(store: Store) -> bool:
    """Return whether an MRI of the val split has a linked real CT."""
    return any(
        mri.link and store.volumes.named(mri.link) is not None for mri in store.select("mri", "val")
    )
