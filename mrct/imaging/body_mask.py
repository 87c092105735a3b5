"""The body mask: where the patient is, cavities included, and neither table nor noise is."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrct.imaging.connected_components import Box, Mask, filled, largest_part, parts_where
from mrct.imaging.hounsfield import BODY_HU
from mrct.imaging.volume import Modality

_OPENING_MM = 4.0
"""Thinner things that cling to the head are the holder, not the head."""
_CLOSING_MM = 6.0
"""Nostrils, ear canals and mouths up to twice this wide are sealed before filling."""
_MEAN_MM = 3.0
"""Over this width noise is averaged before a threshold is laid."""
_DARK = 0.85
"""In square roots: a sixth of tissue where air is black."""
_AIR_MM = 20.0
"""Farther from the head's bright part there is air."""
_AIR_PERCENTILE = 99.7
"""Noise and ghosts of air are rarely brighter."""
_RIM_MM = 3.0
"""An MRI's low threshold takes in so much of what blurs from the skin into the air."""
_RIM_SHARE = 0.7
"""Of the outermost tissue's brightness: as -300 HU is of the way from air to water."""
_NEAR_MM = 4.5
"""How far, along each axis, tissue says how bright the tissue at the surface should be."""
_SOLID_MM = 1.0
"""Speckle is thinner, and no ear."""
_HOLDER_MM = 12.0
"""No shell of a table or head holder is thicker."""
_LONG_MM = 80.0
"""Longer than an ear is high."""


def body_mask(
    voxels: NDArray[np.float32] | NDArray[np.int16],
    modality: Modality,
    *,
    spacing_mm: tuple[float, float, float],
    drawn_in: bool = True,
) -> Mask:
    """The patient's voxels [z, y, x], sinuses and airways inside the head included.

    Above a threshold (-300 HU for CT, Otsu's for MRI), opened so that the head holder lets go, the
    largest connected part, closed, and filled slice by slice along all three axes, because an
    airway is open along one of them. All false where nothing is above it. Rows run from front to
    back: a head holder is looked for behind the head. An MRI's outline is then drawn in to where a
    CT's lies, so that depths below it mean the same in both; without `drawn_in` all that blurs
    from the skin into the air stays, and with it the patient's dark rim.
    """
    is_ct = modality == "ct"
    image = voxels if is_ct else _smooth(voxels, spacing_mm)
    tissue = image > BODY_HU if is_ct else _mri_tissue(image, spacing_mm)
    found = np.zeros(tissue.shape, np.bool_)
    around = _around(tissue, 0, spacing_mm)
    if not is_ct:  # Dark skull parts scalp from brain; no holder is there whose gap would close.
        tissue[around] = filled(tissue[around], (0,))
    found[around] = _opened(tissue[around], _OPENING_MM / 2, spacing_mm)
    around = _around(found, 0, spacing_mm)
    body = found[around]
    if is_ct:
        body = _without_holder(tissue[around], body, spacing_mm)
    found[around] = largest_part(_closed(body, spacing_mm) | body)
    if drawn_in and not is_ct:
        around = _around(found, _RIM_MM, spacing_mm)
        found[around] = _drawn_in(image[around], found[around], spacing_mm)
    return found


def _drawn_in(
    image: NDArray[np.float32] | NDArray[np.int16],
    body: Mask,
    spacing_mm: tuple[float, float, float],
) -> Mask:
    """The body of a smoothed MRI less the part of its rim that is far darker than the rim nearby.

    Where the body is cut by the picture's border it has no rim.
    """
    inner = _erode(body, _RIM_MM, spacing_mm)
    rim = np.where(body & ~inner, image, 0)
    widths = [2 * round(_NEAR_MM / mm) + 1 for mm in spacing_mm]
    kept = body & (inner | (image >= _RIM_SHARE * ndimage.maximum_filter(rim, widths)))
    whole = _opened(kept, _OPENING_MM / 2, spacing_mm) | inner
    # Of a body that is all rim, as on a thumbnail, the first finding is the better one.
    return largest_part(filled(whole, (0,))) if whole.any() else body


def _closed(body: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """The body with its openings sealed and its cavities filled, and nothing beyond its box."""
    z, y, x = (int(_CLOSING_MM / mm) + 1 for mm in spacing_mm)
    # A stack that ends in the body goes on as it ended, or airways would open at its end slices.
    roomy = np.pad(np.pad(body, [(z, z), (0, 0), (0, 0)], "edge"), [(0, 0), (y, y), (x, x)])
    sealed = _dilate(roomy, _CLOSING_MM, spacing_mm)
    return _erode(filled(sealed), _CLOSING_MM, spacing_mm)[z:-z, y:-y, x:-x]


def bounding_box(mask: Mask, margins: Sequence[int] = (0, 0, 0)) -> Box | None:
    """The smallest box that holds a mask [z, y, x], grown by so many voxels on each side as far as
    the array goes. None where the mask is empty.
    """
    box = []
    for axis, (length, margin) in enumerate(zip(mask.shape, margins, strict=True)):
        across = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(across):
            return None
        first, last = int(across[0]), int(across[-1])
        box.append(slice(max(0, first - margin), min(length, last + 1 + margin)))
    return tuple(box)


def _around(mask: Mask, margin_mm: float, spacing_mm: tuple[float, float, float]) -> Box:
    """The mask's box and a margin, at least a voxel wide: work in it is work on the whole.

    It may end beyond the array, which slicing forgives; `_without_holder` measures from its ends.
    """
    box = bounding_box(mask) or (slice(0, 0),) * 3
    margins = [int(margin_mm / mm) + 1 for mm in spacing_mm]
    return tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in zip(box, margins, strict=True)
    )


def _mri_tissue(
    image: NDArray[np.float32] | NDArray[np.int16], spacing_mm: tuple[float, float, float]
) -> Mask:
    """What is brighter than air, in square roots: there noise is even, and fat does not decide.

    Otsu's threshold finds the head's bright part, and so the air around it. Tissue may be darker,
    down to _DARK of that threshold, but stands above nearly all of that air with its noise and
    ghosts. Smoothed, even strong noise is narrow; every other row and column is enough to find the
    threshold.
    """
    dz, dy, dx = spacing_mm
    some = image[:, ::2, ::2]
    root = np.sqrt(some.clip(0, np.percentile(some, 95)))
    threshold = otsu_threshold(root)
    bright = _opened(root > threshold, _OPENING_MM / 2, (dz, 2 * dy, 2 * dx))
    is_air = root > 0  # zero is no measurement
    is_air[:, *_around(bright, _AIR_MM, (dz, 2 * dy, 2 * dx))[1:]] = False
    air = float(np.percentile(root[is_air], _AIR_PERCENTILE)) if is_air.any() else 0.0
    return np.asarray(image > min(threshold, max(_DARK * threshold, air)) ** 2)


def _smooth(
    voxels: NDArray[np.float32] | NDArray[np.int16], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Means over _MEAN_MM, in which noise is lower."""
    widths = [max(1, (int(_MEAN_MM / mm) - 1) // 2 * 2 + 1) for mm in spacing_mm]
    return np.asarray(ndimage.uniform_filter(voxels.astype(np.float32, copy=False), widths))


def _without_holder(tissue: Mask, body: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """The body of a CT less what is thin, long and behind it, a shell on which the head lies, and
    with ears: what is thin, short and at its sides.
    """
    thick = _opened(body, _HOLDER_MM / 2, spacing_mm)
    if not thick.any():
        return body
    _, rows, columns = _around(thick, 0, spacing_mm)
    quarter = (columns.stop - columns.start) / 4

    def is_holder(part: Box) -> bool:
        is_behind = part[1].start + part[1].stop > rows.start + rows.stop
        return bool(is_behind and _length_mm(part, spacing_mm) > _LONG_MM)

    def is_ear(part: Box) -> bool:
        left, right = part[2].start - columns.start, columns.stop - part[2].stop
        is_aside = left > 3 * quarter or right > 3 * quarter
        return bool(is_aside and _length_mm(part, spacing_mm) <= _LONG_MM)

    head = body & ~parts_where(body & ~thick, is_holder)
    solid = _dilate(_erode(tissue, _SOLID_MM, spacing_mm), _SOLID_MM, spacing_mm)
    return largest_part(head | parts_where(solid & ~head, is_ear))


def _length_mm(box: Box, spacing_mm: tuple[float, float, float]) -> float:
    return float(max((s.stop - s.start) * mm for s, mm in zip(box, spacing_mm, strict=True)))


def _opened(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """The largest part that holds a ball of this radius, and what is that near to it."""
    core = largest_part(_erode(mask, radius_mm, spacing_mm))
    return _dilate(core, radius_mm + 1e-3, spacing_mm) & mask


def otsu_threshold(values: NDArray[np.float32] | NDArray[np.int16], bins: int = 256) -> float:
    """The value that splits a histogram into the two classes farthest apart (Otsu, 1979)."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = counts.cumsum()[:-1], counts[::-1].cumsum()[::-1][1:]
    sums = (counts * centres).cumsum()
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(centres[np.argmax(below * above * (mean_below - mean_above) ** 2)])


def _dilate(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """All voxels within a ball's radius of the mask.

    The ball is a bundle of rods along x: the mask grows along x, a voxel at a time, and is shifted
    to each rod of that length. Much faster than a distance transform at radii of a few voxels.
    """
    dz, dy, dx = spacing_mm
    steps = [range(-int(radius_mm / mm), int(radius_mm / mm) + 1) for mm in (dz, dy)]
    rods: dict[int, list[tuple[int, int]]] = {}
    for z, y in itertools.product(*steps):
        if (left := radius_mm**2 - (z * dz) ** 2 - (y * dy) ** 2) >= 0:
            rods.setdefault(int(left**0.5 / dx), []).append((z, y))
    grown, dilated = mask.copy(), np.zeros_like(mask)
    for half in range(max(rods) + 1):
        if half:
            grown[:, :, half:] |= mask[:, :, :-half]
            grown[:, :, :-half] |= mask[:, :, half:]
        for z, y in rods.get(half, []):
            dilated[_to(z), _to(y)] |= grown[_to(-z), _to(-y)]
    return dilated


def _to(shift: int) -> slice:
    """What of an axis is left where things are shifted to it."""
    return slice(shift, None) if shift >= 0 else slice(None, shift)


def _erode(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """The voxels farther than a radius from all outside; the array's border is no outside."""
    return ~_dilate(~mask, radius_mm, spacing_mm)
