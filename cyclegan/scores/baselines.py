"""What a translator must beat: synthetic CTs that need no network. Results are HU [z, y, x]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.scores.unpaired import LOW_HU, Population
from data_prep.intensity import WINDOW_HU

SOFT_TISSUE_HU = 40.0
"""Brain and muscle."""
AIR_HU = WINDOW_HU[0]


def constant_soft_tissue(body: NDArray[Any]) -> NDArray[np.float32]:
    """40 HU inside the body, -1024 outside: a strong MAE without a single voxel of bone."""
    return np.where(body, SOFT_TISSUE_HU, AIR_HU).astype(np.float32)


def matched_histogram(
    mri: NDArray[Any], body: NDArray[Any], real: Population
) -> NDArray[np.float32]:
    """The MRI with the CT population's histogram: the darkest voxel becomes the lowest HU.

    Histogram specification inside the body (Gonzalez and Woods, section 3.3), -1024 HU outside.
    `real` must come from CTs of training subjects: the pair's own CT would give the answer away.
    """
    inside = body.astype(bool)
    _, ranks, counts = np.unique(mri[inside], return_inverse=True, return_counts=True)
    quantiles = np.cumsum(counts) / counts.sum()
    (seen,) = np.nonzero(real.hu)
    real_quantiles = np.cumsum(real.hu[seen]) / real.hu.sum()
    hu = np.full(mri.shape, AIR_HU, np.float32)
    hu[inside] = np.interp(quantiles, real_quantiles, seen + LOW_HU)[ranks]
    return hu
