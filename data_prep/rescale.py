"""Stored DICOM numbers to HU and magnitudes, and whether they can be what the header calls them.

It knows nothing of files or places. Values are computed in float64 and kept in float32, each slice
with its own slope and intercept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
_MOST_BELOW_MR = 0.05
_JUNK_DEPTH = 1.0
"""An MR voxel lies further below zero than this many times the 99.9th percentile above it: an
overflow or a phase picture. Standardised and filtered magnitudes stay far from that."""
_LOWEST_HU, _AIR_HU = -1100.0, -900.0
_NO_BODY_HU = -300.0
_LEAST_BODY = 1e-3
"""Of a CT's voxels above _NO_BODY_HU; the sparsest of the real heads has 0.05."""
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
    with np.errstate(over="ignore"):  # `check_values` finds what became infinite
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
    tissue = [hu for hu in ends_hu if _AIR_HU < hu < WINDOW_HU[1]]
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


def check_values(values: NDArray[Any], modality: Modality) -> None:
    """Raise VolumeError where measured numbers cannot be HU of a body, or MR magnitudes."""
    check_picture(values, modality)
    if modality == "ct":
        _check_hounsfield(values)


def check_picture(values: NDArray[Any], modality: Modality) -> None:
    """Raise VolumeError where numbers show nothing, or are far from what the modality has."""
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        raise VolumeError(
            "not-finite",
            f"{(~finite).sum():,} voxels ({(~finite).mean():.2%}) are NaN or infinite.",
            "Repair the step that wrote them; they have no value to train on.",
        )
    some = _some(values)
    if not some.size or (some.min() == some.max() and values.min() == values.max()):
        what = f"Every voxel is {values.flat[0]:g}." if values.size else "Every voxel is padding."
        raise VolumeError("constant", what, "Look at the file: it holds no picture.")
    if modality == "mri":
        _check_magnitudes(values)
        return
    body = float((some > _NO_BODY_HU).mean())
    if body < _LEAST_BODY:
        raise VolumeError(
            "all-air",
            f"Of this CT {1 - body:.2%} is air (below {_NO_BODY_HU:g} HU).",
            "Look at the volume: the body lies outside, it is an MR, or the rescale was applied "
            "twice.",
        )


def _check_magnitudes(values: NDArray[Any]) -> None:
    if values.min() >= 0:
        return
    below = float((_some(values) < _NO_BODY_HU).mean())
    if below > _MOST_BELOW_MR:
        raise _conflict(
            f"MR magnitudes are not negative, but {below:.0%} of the voxels are below "
            f"{_NO_BODY_HU:g}: this is a CT, or a phase picture"
        )
    bright = float(np.percentile(_some(values), 99.9))
    junk = float((values < -_JUNK_DEPTH * max(bright, 0.0)).mean())
    if junk:
        raise VolumeError(
            "negative-magnitudes",
            f"{junk:.3%} of this MR's voxels lie further below zero (lowest {values.min():g}) than "
            f"its bright tissue above ({bright:g}): magnitudes are not negative, so numbers "
            "overflowed or this is a phase picture.",
            "Convert again from the DICOM source, or give the magnitude picture.",
        )


def _some(values: NDArray[Any]) -> NDArray[Any]:
    """About a million of them, which tell of shares as much as all; an odd step meets no column."""
    some: NDArray[Any] = values.ravel()[:: values.size // 1_000_000 | 1]
    return some


def _check_hounsfield(values: NDArray[Any]) -> None:
    values = _some(values)
    lowest = float(np.percentile(values, 1))
    if lowest > _NO_BODY_HU:
        raise _conflict(
            f"a CT without air, 99 % of its voxels are above {lowest:.0f}, where air is -1000 HU: "
            "this is an MR, or the rescale was never applied"
        )
    body = int((values > _NO_BODY_HU).sum())
    tissue = int(((values > -_TISSUE_HU) & (values < _TISSUE_HU)).sum())
    partly_air = int(((values > _PARTLY_AIR_HU) & (values <= _NO_BODY_HU)).sum())
    if tissue < max(_LEAST_TISSUE * body, partly_air):
        whole = body + partly_air
        raise _conflict(
            f"of the voxels that are not all air, {tissue / whole:.0%} have HU of soft tissue and "
            f"{partly_air / whole:.0%} lie between air and fat"
        )


def below_air(values: NDArray[np.float32], modality: Modality) -> int:
    """How many voxels of a CT are below what anything can be; they end as air."""
    return int((values < _LOWEST_HU).sum()) if modality == "ct" else 0


def _conflict(found: str) -> VolumeError:
    return VolumeError(
        "modality-conflict",
        f"The numbers do not fit the modality: {found}.",
        "Look at the volume; file it under its true modality, or leave it out.",
    )
