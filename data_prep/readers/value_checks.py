"""Checks that voxel values can be HU of a body, or MR magnitudes: one rule for every format.

`formats.read_file` and `dicom.reader.read_series` call `check_values` once for each volume, on all
measured voxels, so that later stages need not check again; `translate` in Python calls it for a
volume in memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct.errors import VolumeError
from mrct.imaging.hounsfield import BODY_HU, LOWEST_HU, PARTLY_AIR_HU, SOFT_TISSUE_LIMIT_HU
from mrct.imaging.volume import Modality, Note, ignore_note

_SAMPLE = 1_000_000
"""Number of voxels from which fractions are estimated."""
_MOST_BELOW_MR = 0.05
_JUNK_DEPTH = 1.0
"""An MR voxel further below zero than this multiple of the 99.9th percentile is an overflow, or
the image is a phase image. Standardised and filtered magnitudes stay far from that."""
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
    sample = _sample(measured)
    _check_not_constant(measured, sample)
    if modality == "mri":
        _check_magnitudes(measured, sample)
        return
    _check_hounsfield(sample)
    below = int((measured < LOWEST_HU).sum())
    if below:
        note(f"{below} voxels are below {LOWEST_HU:g} HU, which is impossible; they become air.")


def _sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th value, with n odd so that the sample does not stay in one column."""
    sample: NDArray[Any] = values.ravel()[:: values.size // _SAMPLE | 1]
    return sample


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
    if values.min() >= 0:
        return
    below = float((sample < BODY_HU).mean())
    if below > _MOST_BELOW_MR:
        raise _conflict(
            f"MR magnitudes are not negative, but {below:.0%} of the voxels are below "
            f"{BODY_HU:g}: this is a CT, or a phase image",
            "Check the volume; give it as its true modality, or leave it out.",
        )
    bright = float(np.percentile(sample, 99.9))
    junk = float((values < -_JUNK_DEPTH * max(bright, 0.0)).mean())
    if junk:
        raise VolumeError(
            "negative-magnitudes",
            f"{junk:.3%} of this MR's voxels are further below zero (lowest {values.min():g}) than "
            f"its bright tissue is above ({bright:g}): magnitudes are not negative, so values "
            "overflowed or this is a phase image.",
            "Convert again from the DICOM source, or give the magnitude image.",
        )


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
            "this is an MR, or the rescale was never applied",
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


def _conflict(found: str, remedy: str) -> VolumeError:
    return VolumeError("modality-conflict", f"The values do not fit the modality: {found}.", remedy)
