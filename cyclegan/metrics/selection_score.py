"""Selection score: one number to choose a checkpoint by, without pairs.

The cycle, identity and adversarial losses of a failed run look normal (contrast lock-in), so the
score compares the synthetic CTs themselves, as a population. docs/evaluation.md shows how well this
works.
"""

from functools import lru_cache

from cyclegan.errors import DataError
from cyclegan.metrics.body_regions import bone_region_mismatch, region_distance_hu
from cyclegan.metrics.unpaired_scores import CtStatistics, ct_statistics_of, pool_statistics
from data_prep.store.store import Store
from mrct.imaging.hounsfield import SOFT_TISSUE_HU

SELECTION = "val/selection"
"""Name of the score that the best checkpoint is chosen by; lower is better."""
HIGHER_IS_BETTER = ("ssim", "psnr", "dice")
"""Words in the names of scores that increase with quality; all others are errors and distances."""
VALUES_WEIGHT = 0.25
CYCLE_WEIGHT = 0.1
"""Weights relative to 1 for bone, chosen on the cohort `choose` of benchmarks/selection.py only."""


def higher_is_better(metric: str) -> bool:
    """Return whether a validation score, by its name in `metrics.jsonl`, increases with quality."""
    return any(word in metric for word in HIGHER_IS_BETTER)


def selection_score(synthetic: CtStatistics, real: CtStatistics, cycle_ssim: float) -> float:
    """Return the selection score: 0 is perfect, constant soft tissue gets 1.125; lower is better.

    It is the weighted sum of three costs, each from 0 to 1 (the third above 1 for a negative SSIM).
    Weight 1: bone in the wrong regions (`bone_region_mismatch`, 1 without any bone). Weight 1/4:
    wrong HU by region, d / (d + s) with d the `region_distance_hu` and s that of constant soft
    tissue, which bounds the cost of untrained networks. Weight 1/10: lost anatomy (1 -
    `cycle_ssim`), because a generator that always returns the average head would do well on the
    other two.

    Args:
        synthetic: Summary of the synthetic CTs.
        real: Summary of real CTs of the train split.
        cycle_ssim: Mean SSIM of the cycles of both directions, at most 1.
    """
    regions = synthetic.regions
    distance = region_distance_hu(regions, real.regions)
    of_soft_tissue = region_distance_hu(regions.all_of(SOFT_TISSUE_HU), real.regions)
    return (
        bone_region_mismatch(regions, real.regions)
        + VALUES_WEIGHT * distance / max(distance + of_soft_tissue, 1e-9)
        + CYCLE_WEIGHT * (1 - cycle_ssim)
    )


@lru_cache(maxsize=2)
def train_ct_statistics(store: Store, num_volumes: int | None = None) -> CtStatistics:
    """Return the summary of the first `num_volumes` (or all) real CTs of the train split.

    The result is cached, because every validation of a run needs it.

    Args:
        store: Store with the volumes; a volume that is damaged raises StoreError.
        num_volumes: Number of CTs, in the order of their names; None stands for all.

    Raises:
        DataError: The train split has no CT.
    """
    volumes = store.select("ct", "train")[:num_volumes]
    if not volumes:
        raise DataError(
            f"The train split of {store.path} has no CT, so there is nothing to compare synthetic "
            "CTs with. Convert again with CT volumes: python -m data_prep convert --ct DIR ..."
        )
    return pool_statistics(
        ct_statistics_of(store.voxels(volume), store.body(volume), store.spacing_mm, volume.height)
        for volume in volumes
    )
