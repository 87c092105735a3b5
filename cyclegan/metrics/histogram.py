"""Histograms of whole HU, and distances between them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.hounsfield import BONE_HU, CAVITY_HU, WINDOW_HU

LOW_HU = int(WINDOW_HU[0])
NUM_HU = int(WINDOW_HU[1]) - LOW_HU + 1
"""Number of bins of 1 HU: stored CTs are whole numbers, so their histograms are exact."""

Counts = NDArray[np.int64]
"""[4096], voxels at each whole HU from -1024 to 3071."""


def tissues_of(hu: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    """Return masks of air (below -200 HU), soft tissue, and bone (above 250 HU)."""
    air, bone = hu < CAVITY_HU, hu > BONE_HU
    return {"air": air, "soft": ~(air | bone), "bone": bone}


def histogram_of(values: NDArray[Any]) -> Counts:
    """Count HU values of any shape, rounded; values outside the window are clipped to it.

    Args:
        values: Finite HU values.
    """
    whole = np.rint(values.ravel().clip(*WINDOW_HU)).astype(np.int64)
    return np.bincount(whole - LOW_HU, minlength=NUM_HU)


def distance_hu(ours: Counts, theirs: Counts) -> float:
    """Return the Wasserstein-1 distance in HU: the mean shift that turns one into the other.

    In one dimension it is the area between the cumulative histograms (Vallender 1974). The numbers
    of voxels may differ, but neither histogram may be empty.

    Examples:
        >>> distance_hu(histogram_of(np.array([40, 60])), histogram_of(np.array([45, 65])))
        5.0
    """
    return float(np.abs(np.cumsum(ours) / ours.sum() - np.cumsum(theirs) / theirs.sum()).sum())


def tissue_distances_hu(ours: Counts, theirs: Counts) -> dict[str, float]:
    """Return `distance_hu` within air (below -200 HU), soft tissue and bone (above 250 HU).

    Each tissue's histogram is normalised on its own, so the amount of the tissue does not matter,
    only its density. A tissue that one of the two lacks is left out.
    """
    hu = np.arange(LOW_HU, LOW_HU + NUM_HU)
    return {
        tissue: distance_hu(ours * part, theirs * part)
        for tissue, part in tissues_of(hu).items()
        if (ours * part).any() and (theirs * part).any()
    }
