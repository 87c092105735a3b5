"""Computes the body mask: the patient including cavities, without table and noise."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrct.imaging.connected_components import Box, Mask, fill_holes, largest_part, parts_where
from mrct.imaging.hounsfield import BODY_HU
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Volume

_OPENING_MM = 4.0
"""Thinner structures attached to the head belong to the holder."""
_CLOSING_MM = 6.0
"""Nostrils, ear canals and mouths up to twice this wide are sealed before filling."""
_MEAN_MM = 3.0
"""Width over which noise is averaged before thresholding."""
_DARK = 0.85
"""Lowest threshold relative to Otsu's, in square roots: a sixth of tissue where air is black."""
_AIR_MM = 20.0
"""Voxels farther than this from the bright part of the head are air."""
_AIR_PERCENTILE = 99.7
"""Percentile of air above which noise and ghosts are rare."""
_RIM_MM = 3.0
"""Width of the blur from skin into air that the low threshold of an MRI includes."""
_RIM_SHARE = 0.7
"""Fraction of the outermost tissue's brightness at which the body ends, as -300 HU is 0.7 of the
way from air to water."""
_NEAR_MM = 4.5
"""Distance along each axis within which tissue defines the expected brightness at the surface."""
_SOLID_MM = 1.0
"""Minimum thickness of an ear; speckle is thinner."""
_HOLDER_MM = 12.0
"""Maximum thickness of the shell of a table or head holder."""
_LONG_MM = 80.0
"""Length above the height of an ear."""
_ROUGH_MM = 3.0
"""Voxel size that is fine enough to centre on the body."""


def body_mask(
    voxels: NDArray[np.float32] | NDArray[np.int16],
    modality: Modality,
    *,
    spacing_mm: tuple[float, float, float],
    exclude_rim: bool = True,
) -> Mask:
    """Return the patient's voxels [z, y, x], including sinuses and airways inside the head.

    The voxels above a threshold (-300 HU for CT, Otsu's for MRI) are opened to detach the head
    holder, reduced to the largest connected part, closed, and filled slice by slice along all three
    axes, because an airway is open along one of them. The mask is empty if no voxel is above the
    threshold. Rows run from front to back: a head holder is searched behind the head. The outline
    of an MRI is then moved inwards to that of a CT, so that depths below it mean the same in both;
    without `exclude_rim` the blur from skin into air stays, and with it the dark rim of the
    patient.
    """
    is_ct = modality == "ct"
    image = voxels if is_ct else _smooth(voxels, spacing_mm)
    tissue = image > BODY_HU if is_ct else _mri_tissue(image, spacing_mm)
    found = np.zeros(tissue.shape, np.bool_)
    around = _around(tissue, 0, spacing_mm)
    if (
        not is_ct
    ):  # The dark skull separates scalp and brain. MRI shows no holder, so filling is safe.
        tissue[around] = fill_holes(tissue[around], (0,))
    found[around] = _open(tissue[around], _OPENING_MM / 2, spacing_mm)
    around = _around(found, 0, spacing_mm)
    body = found[around]
    if is_ct:
        body = _without_holder(tissue[around], body, spacing_mm)
    found[around] = largest_part(_close(body, spacing_mm) | body)
    if exclude_rim and not is_ct:
        around = _around(found, _RIM_MM, spacing_mm)
        found[around] = _drawn_in(image[around], found[around], spacing_mm)
    return found


def _drawn_in(
    image: NDArray[np.float32] | NDArray[np.int16],
    body: Mask,
    spacing_mm: tuple[float, float, float],
) -> Mask:
    """Return the body of a smoothed MRI without rim voxels far darker than the rim nearby.

    A body has no rim where the border of the image cuts it.
    """
    inner = _erode(body, _RIM_MM, spacing_mm)
    rim = np.where(body & ~inner, image, 0)
    widths = [2 * round(_NEAR_MM / mm) + 1 for mm in spacing_mm]
    kept = body & (inner | (image >= _RIM_SHARE * ndimage.maximum_filter(rim, widths)))
    whole = _open(kept, _OPENING_MM / 2, spacing_mm) | inner
    # If the body is all rim, as in a very small image, it is kept unchanged.
    return largest_part(fill_holes(whole, (0,))) if whole.any() else body


def _close(body: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the body with its openings sealed and its cavities filled, within its box."""
    z, y, x = (int(_CLOSING_MM / mm) + 1 for mm in spacing_mm)
    # Repeat the end slices, otherwise airways would be open where the stack ends within the body.
    roomy = np.pad(np.pad(body, [(z, z), (0, 0), (0, 0)], "edge"), [(0, 0), (y, y), (x, x)])
    sealed = _dilate(roomy, _CLOSING_MM, spacing_mm)
    return _erode(fill_holes(sealed), _CLOSING_MM, spacing_mm)[z:-z, y:-y, x:-x]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoughBody:
    """What voxels of about 3 mm show of the body's extent, on the volume's own grid."""

    box: Box
    border_share: float
    """Fraction of the slices' border, the outermost rows and columns, that the body covers."""
    dark_middle: float
    """Fraction of the middle of the slices that is darker than nine tenths of their border; near 1
    where the background is bright, in whatever unit."""


def rough_body(volume: Volume) -> RoughBody | None:
    """Return the extent of the body, for centring; None if no body is found."""
    shape = volume.voxels.shape
    steps = [
        min(max(1, int(_ROUGH_MM / mm)), n) for mm, n in zip(volume.spacing_mm, shape, strict=True)
    ]
    coarse: NDArray[Any] = volume.voxels[:: steps[0], :: steps[1], :: steps[2]]
    if volume.modality == "mri":
        coarse = _pool(volume.voxels[:: steps[0]], steps[1], steps[2])
    dz, dy, dx = (mm * step for mm, step in zip(volume.spacing_mm, steps, strict=True))
    # Not drawn in: a body as large as its grid must not lose its dark rim.
    mask = body_mask(coarse, volume.modality, spacing_mm=(dz, dy, dx), exclude_rim=False)
    box = bounding_box(mask)
    if box is None:
        return None
    _, y, x = coarse.shape
    middle = coarse[:, y // 4 : y - y // 4, x // 4 : x - x // 4]
    return RoughBody(
        box=tuple(
            slice(side.start * step, min(side.stop * step, n))
            for side, step, n in zip(box, steps, shape, strict=True)
        ),
        border_share=float(_border(mask).mean()),
        dark_middle=float((middle < np.percentile(_border(coarse), 10)).mean()),
    )


def _border(image: NDArray[Any]) -> NDArray[Any]:
    """Return the values of the outermost rows and columns."""
    return np.concatenate([image[:, [0, -1]].ravel(), image[:, :, [0, -1]].ravel()])


def _pool(voxels: NDArray[Any], rows: int, columns: int) -> NDArray[np.float32]:
    """Return means over blocks of a slice, which lower the noise; incomplete blocks are dropped."""
    z, y, x = len(voxels), voxels.shape[1] // rows, voxels.shape[2] // columns
    blocks = voxels[:, : y * rows, : x * columns].reshape(z, y, rows, x, columns)
    return np.asarray(blocks.mean(axis=(2, 4)), np.float32)


def bounding_box(mask: Mask, margins: Sequence[int] = (0, 0, 0)) -> Box | None:
    """Return the smallest box around a mask [z, y, x], extended by `margins` voxels on each side
    within the array. None if the mask is empty.
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
    """Return the mask's box with a margin of at least one voxel, to which processing is limited.

    It may end beyond the array, which slicing permits; `_without_holder` measures from its ends.
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
    """Return the voxels brighter than air, thresholded in square roots, where noise is uniform and
    fat does not dominate.

    Otsu's threshold finds the bright part of the head, and so the air around it. It is found a
    second time near that part alone, so that the air which a larger canvas adds does not lower it.
    Tissue may be darker, down to _DARK of that threshold, but must be brighter than nearly all of
    that air with its noise and ghosts. After smoothing even strong noise is narrow; every other
    row and column is enough to find the threshold.
    """
    coarse_mm = (spacing_mm[0], 2 * spacing_mm[1], 2 * spacing_mm[2])
    some = image[:, ::2, ::2]
    near: Box = (slice(None),) * 3
    for _ in range(2):
        root = np.sqrt(some.clip(0, np.percentile(some[near], 95)))
        threshold = otsu_threshold(root[near])
        bright = _open(root > threshold, _OPENING_MM / 2, coarse_mm)
        near = _around(bright, _AIR_MM, coarse_mm)
    is_air = root > 0  # zero means not measured
    is_air[:, *near[1:]] = False
    air = float(np.percentile(root[is_air], _AIR_PERCENTILE)) if is_air.any() else 0.0
    return np.asarray(image > min(threshold, max(_DARK * threshold, air)) ** 2)


def _smooth(
    voxels: NDArray[np.float32] | NDArray[np.int16], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return means over _MEAN_MM, which lower the noise."""
    widths = [max(1, (int(_MEAN_MM / mm) - 1) // 2 * 2 + 1) for mm in spacing_mm]
    return np.asarray(ndimage.uniform_filter(voxels.astype(np.float32, copy=False), widths))


def _without_holder(tissue: Mask, body: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the body of a CT without the head holder (thin, long and behind it) and with the ears
    (thin, short and at its sides).
    """
    thick = _open(body, _HOLDER_MM / 2, spacing_mm)
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


def _open(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the largest part that contains a ball of this radius, and the mask that near to it."""
    core = largest_part(_erode(mask, radius_mm, spacing_mm))
    return _dilate(core, radius_mm + 1e-3, spacing_mm) & mask


def otsu_threshold(values: NDArray[np.float32] | NDArray[np.int16], bins: int = 256) -> float:
    """Return the threshold between the two most distant classes of a histogram (Otsu 1979)."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = counts.cumsum()[:-1], counts[::-1].cumsum()[::-1][1:]
    sums = (counts * centres).cumsum()
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(centres[np.argmax(below * above * (mean_below - mean_above) ** 2)])


def _dilate(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return all voxels within a radius of the mask.

    The ball is a set of rods along x: the mask grows along x, a voxel at a time, and is shifted to
    each rod of that length. This is much faster than a distance transform at radii of a few voxels.
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
    """Return the slice of an axis that remains after a shift."""
    return slice(shift, None) if shift >= 0 else slice(None, shift)


def _erode(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the voxels farther than a radius from the outside; the array's border does not
    count as outside."""
    return ~_dilate(~mask, radius_mm, spacing_mm)
