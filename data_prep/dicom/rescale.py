"""Stored DICOM numbers to HU and magnitudes by the tags for rescale and padding.

It knows nothing of files or places. Values are computed in float64 and kept in float32, each slice
with its own slope and intercept. Whether they can be what the header calls them is for
`value_checks` to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.slice_header import SliceHeader
from mrct.errors import VolumeError
from mrct.imaging.hounsfield import (
    PADDING_HU,
    WINDOW_HU,
)
from mrct.imaging.intensity import AIR
from mrct.imaging.volume import Modality

_HU_TYPES = {"", "HU", "US"}
"""US is "unspecified": then the values themselves must look like HU."""


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SliceValues:
    """A slice in its modality's unit."""

    values: NDArray[np.float32]
    """[y, x]; what is padded has no meaning yet."""
    padded: NDArray[np.bool_]
    """[y, x], where nothing was measured."""
    num_junk: int
    """Pixels with anything in their unused high bits, which were cut off."""
    fits_swapped: bool
    """Whether with the bytes of each number swapped no unused bit would be used."""


def slice_values(stored: NDArray[Any], header: SliceHeader, modality: Modality) -> SliceValues:
    """A slice [y, x] of stored numbers in HU or magnitudes, and where it is padding.

    Padding is looked for before and after the unused high bits are cut off: some writers mark it
    with a value that the stored bits cannot hold. Raises VolumeError where the padding of a CT
    would mean tissue.
    """
    cut = _used_bits(stored, header)
    swapped = stored.byteswap()
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    padded = np.zeros(stored.shape, np.bool_)
    if header.padding:
        first, last = header.padding
        padded = ((stored >= first) & (stored <= last)) | ((cut >= first) & (cut <= last))
        if modality == "ct" and padded.any():
            _check_padding([end * slope + intercept for end in header.padding])
    with np.errstate(over="ignore"):  # found by `check_values`
        values = (cut.astype(np.float64) * slope + intercept).astype(np.float32)
    return SliceValues(
        values=values,
        padded=padded,
        num_junk=int(((cut != stored) & ~padded).sum()),
        fits_swapped=np.array_equal(swapped, _used_bits(swapped, header)),
    )


def _used_bits(stored: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    unused = header.bits_allocated - header.bits_stored
    return (stored << unused) >> unused  # a signed right shift keeps the sign


def _check_padding(ends_hu: Sequence[float]) -> None:
    tissue = [hu for hu in ends_hu if PADDING_HU < hu < WINDOW_HU[1]]
    if tissue:
        raise VolumeError(
            "padding-in-tissue",
            f"The header calls pixels of {tissue[0]:g} HU padding (PixelPaddingValue): they may as "
            "well be tissue, and would become air.",
            "Export the series again from the archive, with a padding value below air.",
        )


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
