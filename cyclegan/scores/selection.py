"""One number to choose a checkpoint by, where no pairs say which is best.

A losing run's cycle, identity and adversarial losses look fine (contrast lock-in), so the choice
rests on the synthetic CTs themselves, as a population. docs/evaluation.md shows how well it works.
"""

from cyclegan.scores.places import bone_place_mismatch, place_distance_hu
from cyclegan.scores.unpaired import Population
from mrct.imaging.hounsfield import SOFT_TISSUE_HU

VALUES_WEIGHT = 0.25
CYCLE_WEIGHT = 0.1
"""Beside 1 for bone. Both were set on the cohort `choose` of benchmarks/selection.py alone."""


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
