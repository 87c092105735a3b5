"""One number to choose a checkpoint by, where no pairs say which is best.

A losing run's cycle, identity and adversarial losses look fine (contrast lock-in), so the choice
rests on the synthetic CTs themselves, as a population. docs/evaluation.md shows how well it works.
"""

from functools import lru_cache

from cyclegan.errors import DataError
from cyclegan.metrics.body_regions import bone_place_mismatch, place_distance_hu
from cyclegan.metrics.unpaired_scores import Population, pooled, population_of
from data_prep.store.store import Store
from mrct.imaging.hounsfield import SOFT_TISSUE_HU

SELECTION = "val/selection"
"""The score that the best checkpoint is chosen by; lower is better, no pair needed."""
HIGHER_IS_BETTER = ("ssim", "psnr", "dice")
"""Words in the names of scores that grow with quality; all others are errors and distances."""
VALUES_WEIGHT = 0.25
CYCLE_WEIGHT = 0.1
"""Beside 1 for bone. Both were set on the cohort `choose` of benchmarks/selection.py alone."""


def higher_is_better(metric: str) -> bool:
    """Which way a score of validation, by its name in `metrics.jsonl`, gets better."""
    return any(word in metric for word in HIGHER_IS_BETTER)


def selection_score(synthetic: Population, real: Population, cycle_ssim: float) -> float:
    """Lower is better; 0 is perfect, 1.125 is what constant soft tissue gets.

    The sum of three costs, each from 0 to 1: bone at the wrong places (`bone_place_mismatch`, 1
    without any bone), a quarter of wrong HU by place (`place_distance_hu` d as d / (d + s), s that
    of constant soft tissue, so that untrained networks do not drown the rest), and a tenth of
    anatomy lost on the way (1 - `cycle_ssim`, the mean of both directions): a translator that
    paints the average head whatever it is shown would please the first two.
    """
    placed = synthetic.placed
    distance = place_distance_hu(placed, real.placed)
    of_soft_tissue = place_distance_hu(placed.all_of(SOFT_TISSUE_HU), real.placed)
    return (
        bone_place_mismatch(placed, real.placed)
        + VALUES_WEIGHT * distance / max(distance + of_soft_tissue, 1e-9)
        + CYCLE_WEIGHT * (1 - cycle_ssim)
    )


@lru_cache(maxsize=2)
def train_ct_population(store: Store, num_volumes: int | None = None) -> Population:
    """What real CTs look like: the first `num_volumes` (or all) of the train split.

    Remembered for the store: a run asks again at every validation.
    """
    volumes = store.select("ct", "train")[:num_volumes]
    if not volumes:
        raise DataError(
            f"the train split of {store.path} has no CT, so there is nothing to compare synthetic "
            "CTs with. Convert again with CT volumes: python -m data_prep convert --ct DIR ..."
        )
    return pooled(
        population_of(store.voxels(volume), store.body(volume), store.spacing_mm)
        for volume in volumes
    )
