"""The body mask: where the patient is, cavities included, and neither table nor noise is."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_prep.volume import Modality

_CT_THRESHOLD_HU = -300.0
"""Half way between air and fat with a margin: skin's partial volume still counts."""
_OPENING_MM = 4.0
"""Thinner things that cling to the head are the holder, not the head."""
_CLOSING_MM = 6.0
"""Nostrils, ear canals and mouths up to twice this wide are sealed before filling."""
Mask = NDArray[np.bool_]


def body_mask(
    voxels: NDArray[np.float32] | NDArray[np.int16],
    modality: Modality,
    *,
    spacing_mm: tuple[float, float, float],
) -> Mask:
    """The patient's voxels [z, y, x], sinuses and airways inside the head included.

    Above a threshold (-300 HU for CT, a part of Otsu's for MRI), opened so that the head holder
    lets go, the largest connected part, closed, and filled slice by slice along all three axes,
    because an airway is open along one of them. All false where nothing is above it.
    """
    if modality == "ct":
        tissue = voxels > _CT_THRESHOLD_HU
    else:
        # Dark skull parts scalp from brain; there is no holder whose gap filling could close.
        tissue = _fill(voxels > _mri_threshold(voxels))
    core = _largest(_erode(tissue, _OPENING_MM / 2, spacing_mm))
    body = _dilate(core, _OPENING_MM / 2 + 1e-3, spacing_mm) & tissue
    sealed = _dilate(body, _CLOSING_MM, spacing_mm)
    return _largest(_erode(_fill(sealed), _CLOSING_MM, spacing_mm) | body)


def _mri_threshold(voxels: NDArray[np.float32] | NDArray[np.int16]) -> float:
    """Above the noise of air and below most tissue."""
    return 0.4 * otsu_threshold(np.minimum(voxels, np.percentile(voxels, 99)))


def otsu_threshold(values: NDArray[np.float32] | NDArray[np.int16], bins: int = 256) -> float:
    """The value that splits a histogram into the two classes farthest apart (Otsu, 1979)."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = counts.cumsum()[:-1], counts[::-1].cumsum()[::-1][1:]
    sums = (counts * centres).cumsum()
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(centres[np.argmax(below * above * (mean_below - mean_above) ** 2)])


def _fill(mask: Mask) -> Mask:
    """The mask with all that its slices enclose, along any of the three axes."""
    filled = mask.copy()
    for axis in range(3):
        slices = np.moveaxis(mask, axis, 0)
        for slice_, out in zip(slices, np.moveaxis(filled, axis, 0), strict=True):
            out |= ndimage.binary_fill_holes(slice_)
    return filled


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _dilate(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """All voxels within a ball's radius of the mask."""
    if not mask.any():
        return mask
    distance_mm = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return np.asarray(distance_mm <= radius_mm)


def _erode(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """The voxels farther than a radius from all outside; the array's border is no outside."""
    return ~_dilate(~mask, radius_mm, spacing_mm)
