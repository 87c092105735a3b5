"""What a search makes better: one of validation's scores, and which way is up. Pure."""

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
"""Those that need an MRI and a CT of one subject in the val split."""
MAE = "val/mae_hu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A score by its name in `metrics.jsonl`."""

    metric: str = SELECTION

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which end of it is good."""
        return "max" if higher_is_better(self.metric) else "min"

    @property
    def needs_pairs(self) -> bool:
        """Whether it compares synthetic with real CTs."""
        return self.metric in PAIRED_TAGS

    @property
    def direction(self) -> str:
        """The same for people."""
        return "higher is better" if self.mode == "max" else "lower is better"

    @property
    def worst(self) -> float:
        """What a score that is not finite counts as."""
        return -inf if self.mode == "max" else inf

    def cost(self, score: float | None) -> float:
        """Lower is better, whatever the metric; infinite where there is no score."""
        if score is None or not isfinite(score):
            return inf
        return -score if self.mode == "max" else score

    def best(self, scores: list[float | None]) -> float | None:
        """The best of them; None where none is finite."""
        finite = [score for score in scores if self.cost(score) < inf]
        return min(finite, key=self.cost, default=None)


def objective_for(store: Store, metric: str = "") -> Objective:
    """The metric that is named; without one the masked MAE where the val split has pairs, else the
    selection score, which needs none.

    Raises:
        ConfigError: There is no such score, or this store has nothing to compute it from.
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
        f"the metric {metric!r} cannot be searched by: {why}. Those that this store has: "
        f"{', '.join(each.removeprefix('val/') for each in there)}."
    )


def has_pairs(store: Store) -> bool:
    """Whether an MRI of the val split has a real CT beside it."""
    return any(
        mri.link and store.volumes.named(mri.link) is not None for mri in store.select("mri", "val")
    )
