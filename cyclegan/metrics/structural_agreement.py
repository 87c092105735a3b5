"""Agreement of a synthetic CT with the anatomy of its source MRI; no real CT is needed.

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
"""Standard deviation of the in-plane Gaussian before gradients, which suppresses edges of noise."""


def edge_agreement(mri: NDArray[Any], ct: NDArray[Any], body: NDArray[Any]) -> float:
    """Return Spearman's correlation of in-plane gradient magnitudes inside the body, in [-1, 1].

    Gradient magnitudes ignore the sign of edges and ranks their height, so it does not matter that
    bone is dark on MRI and bright on CT. It is about 0 for a CT with the anatomy of another slice,
    and 0 if one of the two images is constant.

    Args:
        mri: Source MRI [z, y, x].
        ct: Synthetic CT [z, y, x].
        body: Body mask [z, y, x], 0 or 1, with at least one voxel of body.
    """
    inside = body.astype(bool)
    ours, theirs = (_edges(image)[inside] for image in (mri, ct))
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(spearmanr(ours, theirs).statistic)


def outline_agreement(
    ct: NDArray[Any], body: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> float:
    """Return the Dice overlap of the synthetic CT's own body mask with that of the MRI, 0 to 1.

    Args:
        ct: Synthetic CT in HU [z, y, x].
        body: Body mask of the MRI [z, y, x], 0 or 1.
        spacing_mm: Voxel spacing (z, y, x), in mm.
    """
    found = body_mask(ct.astype(np.float32), "ct", spacing_mm=spacing_mm)
    return dice(found, body.astype(bool))


def _edges(images: NDArray[Any]) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(
        images.astype(np.float32), (0, SMOOTHING_VOXELS, SMOOTHING_VOXELS)
    )
    edges: NDArray[np.float32] = np.hypot(*np.gradient(smooth, axis=(1, 2)))
    return edges
