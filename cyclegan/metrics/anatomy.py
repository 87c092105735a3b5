"""Whether a synthetic CT shows the anatomy of the MRI that it was made from; no real CT is needed.

Arrays are [z, y, x]: MRI in [-1, 1] of its window, CT in HU.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import spearmanr

from cyclegan.metrics.paired_scores import dice
from mrct.imaging.body_mask import body_mask

SMOOTHING_VOXELS = 1.0
"""In plane, before gradients: noise has edges of its own."""


def edge_agreement(mri: NDArray[Any], ct: NDArray[Any], body: NDArray[Any]) -> float:
    """Spearman's rank correlation of in-plane gradient magnitudes inside the body, in [-1, 1].

    Edges stand at the same places whatever their sign and height, so it does not matter that bone
    is dark in one and bright in the other. A CT with the anatomy of another slice has none. 0
    where one of the two is flat.
    """
    inside = body.astype(bool)
    ours, theirs = (_edges(image)[inside] for image in (mri, ct))
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(spearmanr(ours, theirs).statistic)


def outline_agreement(
    ct: NDArray[Any], body: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> float:
    """Dice of the synthetic CT's own body outline with the MRI's."""
    found = body_mask(ct.astype(np.float32), "ct", spacing_mm=spacing_mm)
    return dice(found, body.astype(bool))


def _edges(images: NDArray[Any]) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(
        images.astype(np.float32), (0, SMOOTHING_VOXELS, SMOOTHING_VOXELS)
    )
    edges: NDArray[np.float32] = np.hypot(*np.gradient(smooth, axis=(1, 2)))
    return edges
