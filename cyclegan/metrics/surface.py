"""Distances between the surfaces of two masks [z, y, x], in mm. What the masks show is unknown."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def hd95_mm(a: Mask, b: Mask, spacing_mm: tuple[float, float, float]) -> float | None:
    """The larger of both directions' 95th percentile of surface distances; None if one is empty.

    Huttenlocher 1993 with the percentile in place of the maximum, as MONAI and the SynthRAD2025
    evaluation take it. A surface is the mask's voxels that have one of 6 neighbours outside it.
    """
    if not (a.any() and b.any()):
        return None
    # Only the box that holds both masks matters; the margin keeps its border outside them.
    box = tuple(
        slice(max(0, part.start - 1), part.stop + 1)
        for part in ndimage.find_objects((a | b).astype(np.uint8))[0]
    )
    edge_a, edge_b = surface(a[box]), surface(b[box])
    distances = (
        ndimage.distance_transform_edt(~to, sampling=spacing_mm)[start]
        for start, to in ((edge_a, edge_b), (edge_b, edge_a))
    )
    return max(float(np.percentile(each, 95)) for each in distances)


def surface(mask: Mask) -> Mask:
    """The voxels of a mask that have one of their 6 neighbours outside it or the array."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
