"""One number to choose a checkpoint by, where no pairs say which is best.

A losing run's cycle, identity and adversarial losses look fine (contrast lock-in), so the choice
rests on the synthetic CTs themselves, as a population.
"""

import numpy as np

from cyclegan.scores.baselines import SOFT_TISSUE_HU
from cyclegan.scores.histogram import LOW_HU, NUM_HU
from cyclegan.scores.unpaired import Population, bone_depth_mismatch, hu_distance


def selection_score(synthetic: Population, real: Population, cycle_ssim: float) -> float:
    """Lower is better; 0 is perfect, 2 and more is what constant soft tissue gets.

    The sum of three costs: bone at the wrong depth (`bone_depth_mismatch`, 1 without any bone),
    wrong HU values (`hu_distance` as a share of that of constant soft tissue, so 1 for it too),
    and anatomy lost on the way (1 - `cycle_ssim`, the mean of both directions), which the first
    two would not see. The equal weights are a first guess that no measurement supports yet.
    """
    return (
        bone_depth_mismatch(synthetic, real)
        + hu_distance(synthetic, real) / soft_tissue_distance(real)
        + (1 - cycle_ssim)
    )


def soft_tissue_distance(real: Population) -> float:
    """`hu_distance` of constant soft tissue: the mean distance of the body's voxels from 40 HU."""
    hu = np.arange(LOW_HU, LOW_HU + NUM_HU)
    return float((np.abs(hu - SOFT_TISSUE_HU) * real.hu).sum() / real.hu.sum())
