"""Checks that voxel values can be HU of a body, or MR magnitudes: one rule for every format.

`formats.read_file` and `dicom.reader.read_series` call `check_values` once for each volume, on all
measured voxels, so that later stages need not check again; `translate` in Python calls it for a
volume in memory. All three call `fill_as_air` before it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct.errors import VolumeError
from mrct.imaging.background import background_level, subsample
from mrct.imaging.connected_components import parts_where
from mrct.imaging.hounsfield import (
    AIR_HU,
    BODY_HU,
    LOWEST_HU,
    PADDING_HU,
    PARTLY_AIR_HU,
    SOFT_TISSUE_LIMIT_HU,
    WINDOW_HU,
)
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Note, ignore_note

_MOST_BEYOND = 0.05
"""Largest fraction of a CT's body above the window, and of all its voxels below any HU, other than
padding; real CTs have none, ten times their HU 6 % of the body or 45 % of all voxels, or more."""
_NUM_PADDINGS = 2
"""Values that pad one CT: outside the circle of reconstruction and outside the scan."""
_LEAST_FILL = 0.01
"""Smallest fraction of a CT with one value that can be fill, and of the air that must show beside
it: without any, the one value may be the air of other numbers, of an MR or of halved HU."""
_SPIKE = 5
"""A value this many times as frequent as both its neighbours was not measured."""
_MOST_ALIKE = 0.1
"""Largest fraction of measured tissue that has one value; real CTs have up to 0.03."""
_FILL_VOXELS = 8
"""Least rows or columns of a connected part of fill; tissue of the same value is scattered."""
_LEAST_BODY = 1e-3
"""Smallest fraction of a CT's voxels above BODY_HU; the sparsest of the real heads has 0.05."""
_LEAST_TISSUE = 0.25
"""Smallest fraction of soft tissue in what is not air; real heads and a thigh have 0.74 to
0.84."""


def check_values(measured: NDArray[Any], modality: Modality, note: Note = ignore_note) -> None:
    """Raise VolumeError if the values are constant, not finite, or implausible for the modality.

    `measured` contains HU or magnitudes in any order and of any shape, without padding. `note` is
    called with the number of CT voxels that are below any possible HU.
    """
    _check_finite(measured)
    sample = subsample(measured)
    _check_not_constant(measured, sample)
    if modality == "mri":
        _check_magnitudes(measured, sample)
        return
    _check_hounsfield(sample)
    below = int((measured < LOWEST_HU).sum())
    if below:
        note(f"{below} voxels are below {LOWEST_HU:g} HU, which is impossible; they become air.")


def _check_finite(values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        raise VolumeError(
            "not-finite",
            f"{(~finite).sum():,} voxels ({(~finite).mean():.2%}) are NaN or infinite.",
            "Repair the step that wrote them; training needs finite values.",
        )


def _check_not_constant(values: NDArray[Any], sample: NDArray[Any]) -> None:
    if not values.size or (sample.min() == sample.max() and values.min() == values.max()):
        found = f"Every voxel is {values.flat[0]:g}." if values.size else "Every voxel is padding."
        raise VolumeError("constant", found, "Check the file: it contains no image.")


def _check_magnitudes(values: NDArray[Any], sample: NDArray[Any]) -> None:
    """Check that air is the darkest of an MR, whatever its scale and shift."""
    lowest = float(values.min())
    if lowest >= 0:
        return
    if lowest < BODY_HU and _is_ct(sample):
        raise _conflict(
            f"{(sample < BODY_HU).mean():.0%} of the MR's voxels are below {BODY_HU:g}, as air is, "
            "and the others have HU of a body; this is a CT",
            "Check the volume; give it as its true modality, or leave it out.",
        )
    level = background_level(sample)
    if level is None:
        raise VolumeError(
            "standardised",
            f"This MR has values below zero (lowest {lowest:g}), and air is not its darkest mode: "
            "it was standardised without its background, or is a phase image.",
            "Give the magnitudes before they were standardised, or standardise the whole scan with "
            "its air, by one scale and one shift.",
        )
    bright = float(np.percentile(sample, 99.9)) - level
    junk = float((values < level - bright).mean())
    if junk:
        raise VolumeError(
            "negative-magnitudes",
            f"{junk:.3%} of this MR's voxels are further below its air (lowest {lowest:g}) than "
            f"its bright tissue is above ({level + bright:g}): values overflowed.",
            "Convert again from the DICOM source.",
        )


def _is_ct(sample: NDArray[Any]) -> bool:
    try:
        _check_hounsfield(sample)
    except VolumeError:
        return False
    return bool(np.percentile(sample, 1) < PADDING_HU)


def _check_hounsfield(sample: NDArray[Any]) -> None:
    num_body = int((sample > BODY_HU).sum())
    if num_body < _LEAST_BODY * sample.size:
        raise VolumeError(
            "all-air",
            f"{1 - num_body / sample.size:.2%} of this CT is air (below {BODY_HU:g} HU).",
            "Check the volume: the body lies outside, it is an MR, or the rescale was applied "
            "twice.",
        )
    remedy = (
        "Check the volume: apply the rescale slope and intercept, once, if that was not done; "
        "give it as its true modality, or leave it out."
    )
    lowest = float(np.percentile(sample, 1))
    if lowest > BODY_HU:
        raise _conflict(
            f"a CT without air, 99 % of its voxels are above {lowest:.0f} while air is -1000 HU; "
            "this is an MR, its air was filled with another value, or the rescale was never "
            "applied",
            remedy,
        )
    above = (sample >= WINDOW_HU[1]).sum() / num_body
    _, counts = np.unique(sample[sample < LOWEST_HU], return_counts=True)
    below = np.sort(counts)[:-_NUM_PADDINGS].sum() / sample.size
    if max(above, below) > _MOST_BEYOND:
        raise _conflict(
            f"{above:.0%} of what is not air is {WINDOW_HU[1]:g} HU or more, and {below:.0%} of "
            f"all voxels have various values below {LOWEST_HU:g} HU; the HU were multiplied, or "
            "this is padding",
            remedy,
        )
    num_tissue = int(((sample > -SOFT_TISSUE_LIMIT_HU) & (sample < SOFT_TISSUE_LIMIT_HU)).sum())
    num_partly_air = int(((sample > PARTLY_AIR_HU) & (sample <= BODY_HU)).sum())
    if num_tissue < max(_LEAST_TISSUE * num_body, num_partly_air):
        whole = num_body + num_partly_air
        raise _conflict(
            f"of the voxels that are not entirely air, {num_tissue / whole:.0%} have HU of soft "
            f"tissue and {num_partly_air / whole:.0%} are between air and fat",
            remedy,
        )


def fill_as_air(voxels: NDArray[Any], modality: Modality, note: Note = ignore_note) -> NDArray[Any]:
    """Return a CT [z, y, x] with its fill as air; anything else as it is.

    Resampling, padding and defacing leave one value, often 0 HU, where nothing was measured. It is
    far more frequent than its neighbours, which no measured value is, and lies in connected parts.
    A drawn CT, without noise, has no value that stands out. `note` is called with the number of
    voxels.
    """
    if modality == "mri":
        return voxels
    for fill in _fills(subsample(voxels)):
        where = parts_where(
            voxels == fill, lambda box: max(s.stop - s.start for s in box[1:]) >= _FILL_VOXELS
        )
        if where.mean() < _LEAST_FILL:
            continue
        voxels = np.where(where, voxels.dtype.type(AIR_HU), voxels)
        note(
            f"{where.sum()} voxels ({where.mean():.1%}) are exactly {fill:g} HU, in large parts: "
            "fill, where nothing was measured; they become air."
        )
    return voxels


def _fills(sample: NDArray[Any]) -> list[float]:
    """Return the values above air, below the largest, that could be fill."""
    if (sample <= PADDING_HU).mean() < _LEAST_FILL:
        return []
    values, counts = np.unique(sample[sample > PADDING_HU], return_counts=True)
    beside = np.r_[0, counts, 0]
    spikes = counts > _SPIKE * np.maximum(beside[:-2], beside[2:])
    spikes[-1:] = False  # where a CT was clipped
    fills = spikes & (counts > _LEAST_FILL * sample.size)
    measured = counts[(values > BODY_HU) & ~fills]
    if not len(measured) or measured.max() > _MOST_ALIKE * measured.sum():
        return []
    return [float(value) for value in values[fills]]


def _conflict(found: str, remedy: str) -> VolumeError:
    return VolumeError("modality-conflict", f"The values do not fit the modality: {found}.", remedy)
