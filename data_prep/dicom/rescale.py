"""Converts stored DICOM values to HU and magnitudes by the tags for rescale and padding.

Values are computed in float64 and kept in float32, each slice with its own slope and intercept.
`value_checks` then decides whether they can be what the header declares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.slice_header import SliceHeader
from mrct.errors import VolumeError
from mrct.imaging.background import background_level
from mrct.imaging.hounsfield import (
    PADDING_HU,
    WINDOW_HU,
)
from mrct.imaging.intensity import AIR
from mrct.imaging.modality import Modality

_TORN = 4
"""A step this many times the usual one, and 1/256 of the stored range, is none of the image."""
_HU_TYPES = {"", "HU", "US"}
"""US means "unspecified": then the values themselves must be plausible HU."""


def check_rescale(headers: Sequence[SliceHeader], modality: Modality, *, assume_hu: bool) -> None:
    """Raise VolumeError if slope and intercept leave the unit open.

    All slices of an MR may lack them. Those of a CT may not, unless the caller asserts HU. Some
    slices with and some without are a fault in both.
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
            "No slice of this CT has a rescale slope and intercept: its values need not be HU.",
            "Export the series again from the archive; if the values are known to be HU, give "
            "--assume-hu.",
        )
    units = {header.rescale_type for header in headers} - _HU_TYPES
    if units and modality == "ct":
        raise VolumeError(
            "not-hounsfield",
            "According to RescaleType the values are not HU but another quantity, such as a "
            "density or an iodine map.",
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
    """A slice in the unit of its modality."""

    values: NDArray[np.float32]
    """[y, x]; padded pixels have no meaning yet."""
    padded: NDArray[np.bool_]
    """[y, x], where nothing was measured."""
    num_junk: int
    """Number of pixels with unused high bits set, which were cleared."""
    num_borders: int
    """Number of pairs of neighbouring pixels, one of which has unused high bits set."""
    num_torn: int
    """Those of them that differ far more than other pairs, once the bits are cleared."""
    fits_swapped: bool
    """Whether no unused bit would be set if the bytes of each number were swapped."""


def slice_values(stored: NDArray[Any], header: SliceHeader, modality: Modality) -> SliceValues:
    """Convert a slice [y, x] of stored values to HU or magnitudes, and find its padding.

    Padding is searched before and after the unused high bits are cleared: some writers mark it
    with a value that the stored bits cannot represent. Raises VolumeError if the padding value of
    a CT could be tissue.
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
    junk = (cut != stored) & ~padded
    num_borders, num_torn = _torn(cut, junk, padded, header.bits_stored) if junk.any() else (0, 0)
    return SliceValues(
        values=values,
        padded=padded,
        num_junk=int(junk.sum()),
        num_borders=num_borders,
        num_torn=num_torn,
        fits_swapped=np.array_equal(swapped, _used_bits(swapped, header)),
    )


def _used_bits(stored: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    unused = header.bits_allocated - header.bits_stored
    return (stored << unused) >> unused  # a signed right shift keeps the sign


def _torn(
    cut: NDArray[Any], junk: NDArray[np.bool_], padded: NDArray[np.bool_], bits: int
) -> tuple[int, int]:
    """Count the pairs of neighbours at the border of junk, and those that clearing it tore apart.

    Clearing bits that were graphics leaves the image as smooth as elsewhere. Bits that continue the
    values, as those of metal above 4095, leave a hole where they are cleared.
    """
    steps, borders = [], []
    for ours, theirs in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        whole = ~padded[ours] & ~padded[theirs]
        steps.append(np.abs(cut[ours].astype(np.int64) - cut[theirs])[whole])
        borders.append((junk[ours] != junk[theirs])[whole])
    step, border = np.concatenate(steps), np.concatenate(borders)
    usual = float(np.median(step[~border])) if not border.all() else 0.0
    return int(border.sum()), int((step[border] > _TORN * usual + 2**bits / 256).sum())


def _check_padding(ends_hu: Sequence[float]) -> None:
    tissue = [hu for hu in ends_hu if PADDING_HU < hu < WINDOW_HU[1]]
    if tissue:
        raise VolumeError(
            "padding-in-tissue",
            f"The header declares pixels of {tissue[0]:g} HU as padding (PixelPaddingValue): they "
            "could be tissue, and would become air.",
            "Export the series again from the archive, with a padding value below air.",
        )


def finish_values(
    values: NDArray[np.float32],
    padded: NDArray[np.bool_],
    modality: Modality,
    *,
    is_inverted: bool,
) -> None:
    """Replace padding by air, and invert a MONOCHROME1 MR to the usual contrast, in place.

    The air of an MR is its background, whatever its shift. Inversion maps the largest value to the
    smallest and vice versa. A CT stays as it is: only its display is inverted, after the rescale,
    so HU are HU (PS3.3 C.7.6.3.1.2).
    """
    if is_inverted and modality == "mri" and not padded.all():
        measured = values[~padded]
        np.subtract(measured.min() + measured.max(), values, out=values)
    level = AIR[modality] if modality == "ct" else background_level(values[~padded])
    values[padded] = level or AIR[modality]
