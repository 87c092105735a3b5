"""What a synthetic CT knows of this patient, beyond the atlas of the training CTs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.metrics.paired_scores import mae_hu
from mrct.imaging.hounsfield import AIR_HU

LEAST_SD_HU = 1e-3
"""A difference that varies less is that of the atlas itself, which correlates with nothing."""


def patient_scores(
    synthetic: NDArray[Any],
    real: NDArray[Any],
    body: NDArray[Any],
    *,
    mean: NDArray[Any],
    median: NDArray[Any],
) -> dict[str, float]:
    """Return `skill` and `patient_r` of a synthetic CT; a score that is not defined is left out.

    Skill is 1 - MAE / MAE of the median atlas: 1 is perfect, 0 as good as the atlas, negative
    worse (Murphy 1988, Monthly Weather Review 116:2417). `patient_r` is the correlation of
    (synthetic CT - mean atlas) with (real CT - mean atlas): 0 for what paints the average head on
    everybody. It is also the anomaly correlation of weather forecasts, with the atlas as climate.

    Args:
        synthetic: Synthetic CT in HU [z, y, x].
        real: Real CT in HU [z, y, x].
        body: Mask of the compared voxels [z, y, x]; `patient_r` counts those of them that the
            atlas calls body.
        mean: Mean atlas of the same body in HU [z, y, x], -1024 outside.
        median: Median atlas, likewise.

    Examples:
        >>> real, body = np.array([[[0.0, 100, 200]]]), np.ones((1, 1, 3))
        >>> atlas = np.full((1, 1, 3), 80.0)
        >>> scores = patient_scores(real + 5, real, body, mean=atlas, median=atlas)
        >>> {name: round(value, 3) for name, value in scores.items()}
        {'skill': 0.932, 'patient_r': 1.0}
    """
    scores: dict[str, float] = {}
    inside = body.astype(bool)
    if of_atlas := mae_hu(median, real, inside):
        scores["skill"] = 1 - mae_hu(synthetic, real, inside) / of_atlas
    known = inside & (mean > AIR_HU)
    ours, theirs = (ct[known].astype(np.float64) - mean[known] for ct in (synthetic, real))
    if known.any() and min(ours.std(), theirs.std()) > LEAST_SD_HU:
        scores["patient_r"] = float(np.corrcoef(ours, theirs)[0, 1])
    return scores
