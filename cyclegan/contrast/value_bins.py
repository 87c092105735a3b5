"""Bins of HU and of standardised MRI values, in which the contrast table counts.

Axes: V voxels.
"""

import numpy as np
from jaxtyping import Int, Num

from cyclegan.errors import DataError
from cyclegan.nets.guide import NUM_MRI_BINS
from mrct.imaging.intensity import MEDIAN_LEVEL

_EDGES = """
    -1025 -900 -700 -500 -350 -220 -120 -60 -10 15 45 90 160
    250 350 450 550 650 750 850 950 1100 1300 1700 3072
"""
TABLE_EDGES_HU = np.array([float(edge) for edge in _EDGES.split()])
"""Edges in HU: narrow for soft tissue, and one at the threshold of bone."""
NUM_HU_BINS = len(TABLE_EDGES_HU) - 1

Bins = Int[np.ndarray, " V"]


def hu_bins(hu: Num[np.ndarray, " V"]) -> Bins:
    """Return the bin of each HU value, in [0, NUM_HU_BINS)."""
    found: Bins = (np.digitize(hu, TABLE_EDGES_HU) - 1).clip(0, NUM_HU_BINS - 1)
    return found


def mri_bins(values: Num[np.ndarray, " V"]) -> Bins:
    """Return the bin of each MRI value of a body, in [0, NUM_MRI_BINS).

    Values are standardised by tissue: the body's median is 0.4, and 1 and above share the last bin.
    Bins are even in the root of the standardised value, as the differences between dark tissues
    count and noise grows with the signal. Unlike by a high percentile, what is bright in one person
    alone (fat, a contrast agent) does not move the others' values.

    Args:
        values: Values inside the body, counted from the background, in any unit.

    Raises:
        DataError: Half of the body is background.
    """
    median = float(np.median(values))
    if median <= 0:
        raise DataError(
            "At least half of the body of an MRI has the value of its background, so its values "
            "cannot be standardised. Look at its body mask: python -m data_prep describe STORE "
            "--picture FILE"
        )
    level = (values * (MEDIAN_LEVEL / median)).clip(0, 1)
    found: Bins = np.rint(np.sqrt(level) * (NUM_MRI_BINS - 1)).astype(np.intp)
    return found
