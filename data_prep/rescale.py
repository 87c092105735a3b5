"""Stored DICOM numbers to HU and magnitudes, and whether they can be what the header calls them.

It knows nothing of files or places. Values are computed in float64 and kept in float32, each slice
with its own slope and intercept.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import VolumeError
from data_prep.intensity import WINDOW_HU
from data_prep.slice_header import SliceHeader
from data_prep.volume import Modality

AIR: dict[Modality, float] = {"mri": 0.0, "ct": WINDOW_HU[0]}
"""What padding becomes."""
_HU_TYPES = {"", "HU", "US"}
"""US is "unspecified": then the values themselves must look like HU."""
_MOST_PERCENT_BELOW_MR = 5.0
_NO_BODY_HU = -300.0
_PARTLY_AIR_HU = -750.0
_TISSUE_HU = 150.0
_LEAST_TISSUE = 0.25
"""Of what is no air; real heads and a thigh have 0.74 to 0.84."""


def check_rescale(headers: Sequence[SliceHeader], modality: Modality, *, assume_hu: bool) -> None:
    """Raise VolumeError where slope and intercept leave the unit open.

    An MR may do without on all slices. A CT may not, unless the caller vouches for HU; some
    slices with and some without are a mistake in both.
    """
    lacking = sum(header.slope is None or header.intercept is None for header in headers)
    if 0 < lacking < len(headers):
        raise VolumeError(
            "rescale-missing",
            f"{lacking} of {len(headers)} slices lack the rescale slope or intercept: one volume "
            "would have two units.",
            "Export the series again from the archive.",
        )
    if lacking and modality == "ct" and not assume_hu:
        raise VolumeError(
            "rescale-missing",
            "No slice of this CT has a rescale slope and intercept: its numbers need not be HU.",
            "Export the series again from the archive; where the numbers are known to be HU, "
            "give --assume-hu.",
        )
    units = {header.rescale_type for header in headers} - _HU_TYPES
    if units and modality == "ct":
        raise VolumeError(
            "not-hounsfield",
            "RescaleType says that the numbers are no HU but another quantity, such as a density "
            "or an iodine map.",
            "Give the series that was reconstructed in HU.",
        )
    if any(header.slope == 0 for header in headers):
        raise VolumeError(
            "rescale-unusable",
            "A rescale slope is 0: every pixel of that slice would be the same.",
            "Export the series again from the archive.",
        )


def slice_values(
    stored: NDArray[Any], header: SliceHeader
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A slice [y, x] of stored numbers in its modality's unit, and where it is padding.

    Padding is looked for before and after the unused high bits are cut off: some writers mark it
    with a value that the stored bits cannot hold. Padded pixels have no meaning yet.
    """
    unused = header.bits_allocated - header.bits_stored
    cut = (stored << unused) >> unused if unused else stored  # a signed right shift keeps the sign
    padded = np.zeros(stored.shape, np.bool_)
    if header.padding:
        first, last = header.padding
        padded = ((stored >= first) & (stored <= last)) | ((cut >= first) & (cut <= last))
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    return (cut.astype(np.float64) * slope + intercept).astype(np.float32), padded


def finish_values(
    values: NDArray[np.float32],
    padded: NDArray[np.bool_],
    modality: Modality,
    *,
    is_inverted: bool,
) -> None:
    """Put air where padding is and turn an inverted (MONOCHROME1) MR the usual way up, in place.

    Inverting maps the largest value to the smallest one and back. A CT stays as it is: its
    display is inverted after the rescale, so HU are HU (PS3.3 C.7.6.3.1.2).
    """
    if is_inverted and modality == "mri" and not padded.all():
        measured = values[~padded]
        np.subtract(measured.min() + measured.max(), values, out=values)
    values[padded] = AIR[modality]


def check_values(values: NDArray[np.float32], modality: Modality) -> None:
    """Raise VolumeError where the numbers cannot be HU of a body, or MR magnitudes."""
    if modality == "mri":
        below = 100 * float((values < _NO_BODY_HU).mean())
        if below > _MOST_PERCENT_BELOW_MR:
            raise _conflict(
                f"MR magnitudes are not negative, but {below:.0f} % of the voxels are below "
                f"{_NO_BODY_HU:g}: this is a CT, or a phase picture"
            )
        return
    lowest = float(np.percentile(values, 1))
    if lowest > _NO_BODY_HU:
        raise _conflict(f"a CT without air: 99 % of its voxels are above {lowest:.0f} HU")
    body = int((values > _NO_BODY_HU).sum())
    tissue = int((np.abs(values) < _TISSUE_HU).sum())
    partly_air = int(((values > _PARTLY_AIR_HU) & (values <= _NO_BODY_HU)).sum())
    if tissue < max(_LEAST_TISSUE * body, partly_air):
        whole = body + partly_air
        raise _conflict(
            f"of the voxels that are not all air, {tissue / whole:.0%} have HU of soft tissue and "
            f"{partly_air / whole:.0%} lie between air and fat"
        )


def _conflict(found: str) -> VolumeError:
    return VolumeError(
        "modality-conflict",
        f"The numbers do not fit the header's modality: {found}.",
        "Look at the series; file it under its true modality, or leave it out.",
    )
