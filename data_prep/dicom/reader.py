"""Reads the pixels of a DICOM series as a Volume: CT in HU, MR in magnitudes."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.files import read_stored
from data_prep.dicom.image_kind import not_anatomy
from data_prep.dicom.rescale import check_rescale, finish_values, slice_values
from data_prep.dicom.series import Series, refusal, stack_of
from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.stack_geometry import SAME_PLACE_MM, Stack
from data_prep.readers.header_checks import MAX_BYTES
from data_prep.readers.tolerances import STRICT, Leniency
from data_prep.readers.value_checks import check_values, fill_as_air
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Note, Volume, ignore_note

_ONE_FILE_CODES = ("pixels-unreadable", "unreadable")


def read_series(
    series: Series,
    *,
    pseudonym: str,
    leniency: Leniency = STRICT,
    note: Note = ignore_note,
) -> Volume:
    """Read a whole series as float32 with its affine; an ambiguous series is refused.

    Identical slices at one position are used once. A tilted stack keeps its voxels and gets an
    affine with the tilt as a shear, so that the later resampling to the store's grid
    (`geometry.resample`) straightens it; uneven slices are interpolated to their median gap; both
    only if `leniency` accepts them. `note` is called with each correction and with what could not
    be checked, without patient text.

    Raises VolumeError if the series cannot be used.
    """
    if error := refusal(series, leniency):
        raise error
    modality = series.modality
    assert modality is not None, "a series without error is a CT or an MR"
    check_rescale(series.headers, modality, assume_hu=leniency.assume_hu)
    stack = stack_of(series)
    values, padded = _decode(series.headers, modality, note)
    values, padded = _one_per_place(values, padded, series.headers, stack, note)
    values = fill_as_air(values, modality, note)
    check_values(values[~padded], modality, note)
    is_inverted = series.headers[0].photometric == "MONOCHROME1"
    finish_values(values, padded, modality, is_inverted=is_inverted)
    _note(series, padded, stack, note)
    affine = stack.affine
    if any(fault.code == "irregular-spacing" for fault in stack.faults()):
        note(f"{len(values)} unevenly spaced slices were interpolated to their median gap.")
        values, affine = stack.even(values)
    return Volume(voxels=values, affine=affine, modality=modality, pseudonym=pseudonym)


def claimed_bytes(series: Series) -> int:
    """Return the size of the voxels as float32 according to the headers."""
    return sum(4 * header.rows * header.columns for header in series.headers)


def _decode(
    headers: Sequence[SliceHeader], modality: Modality, note: Note
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values and padding [frames, y, x] in the order of the headers."""
    shape = (len(headers), headers[0].rows, headers[0].columns)
    if 4 * shape[0] * shape[1] * shape[2] > MAX_BYTES:
        raise VolumeError(
            "too-large",
            f"The headers claim {' x '.join(map(str, shape))} voxels, more than a head volume has.",
            "Leave the series out; check where it comes from.",
        )
    values, padded = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    files: dict[Path, list[int]] = defaultdict(list)
    for index, header in enumerate(headers):
        files[header.path].append(index)
    lost, junk, borders, torn, fits_swapped, first = 0, 0, 0, 0, True, None
    for frames in files.values():
        try:
            stored = read_stored(headers[frames[0]])
        except VolumeError as error:
            if error.code not in _ONE_FILE_CODES:
                raise
            lost, first = lost + len(frames), first or error
            continue
        for index in frames:
            found = slice_values(stored[headers[index].frame], headers[index], modality)
            values[index], padded[index] = found.values, found.padded
            junk += found.num_junk
            borders, torn = borders + found.num_borders, torn + found.num_torn
            fits_swapped &= found.fits_swapped
    if first:
        raise VolumeError(
            first.code,
            f"{len(headers) - lost} of {len(headers)} images are readable. {first.reason}",
            first.remedy,
        ) from first
    if junk and fits_swapped:
        raise VolumeError(
            "byte-order",
            "The pixels use bits that the header declares unused, but not after swapping their "
            "bytes: their byte order is not the one in the header.",
            "Export the series again from the archive.",
        )
    if torn > borders / 2:
        raise VolumeError(
            "bits-stored",
            f"{junk} pixels have values beyond the {headers[0].bits_stored} bits of BitsStored "
            "that continue those of their neighbours: with the bits cleared, metal and bone would "
            "become air.",
            "Export the series again from the archive, with BitsStored and HighBit of its values.",
        )
    if junk:
        note(f"{junk} pixels had bits set above BitsStored, which were cleared.")
    return values, padded


def _one_per_place(
    values: NDArray[np.float32],
    padded: NDArray[np.bool_],
    headers: Sequence[SliceHeader],
    stack: Stack,
    note: Note,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return one slice per position, in order; duplicates must have equal position and pixels."""
    positions = np.array([header.position for header in headers], dtype=np.float64)
    clashes = []
    for place, position in zip(stack.places, stack.positions, strict=True):
        for other in place[1:]:
            is_same = (
                np.abs(positions[other] - position).max() < SAME_PLACE_MM
                and np.array_equal(values[other], values[place[0]])
                and np.array_equal(padded[other], padded[place[0]])
            )
            if not is_same:
                clashes.append(float(position @ stack.normal))
    if clashes:
        raise _doubled(len(clashes), clashes[0])
    doubles = len(headers) - len(stack.places)
    if doubles:
        note(f"{doubles} identical slice(s) at the position of another were dropped.")
    kept = [place[0] for place in stack.places]
    return values[kept], padded[kept]


def _note(
    series: Series,
    padded: NDArray[np.bool_],
    stack: Stack,
    note: Note,
) -> None:
    if padded.any():
        note(f"{int(padded.sum())} padded voxels ({padded.mean():.1%}) were set to air.")
    if any(fault.code == "gantry-tilt" for fault in stack.faults()):
        note(f"The gantry tilt of {stack.tilt_degrees:.1f} degrees is a shear in the affine.")
    if series.was_split:
        note("Every slice had its own series UID; they were joined by their series number.")
    if series.split_by:
        names = ", ".join(name for name, _ in series.split_by)
        note(f"Its series holds several volumes, separated by {names}.")
    if reason := not_anatomy(series.facts):
        note(f"{reason.reason} They were asked for.")
    elif series.kind == "derived":
        note("The header calls the images derived and does not say how: check what they show.")
    if any(header.is_lossy for header in series.headers):
        note("The pixels were once compressed with loss: their values are not as measured.")
    if not any(header.images_in_acquisition or header.frames > 1 for header in series.headers):
        low, high = stack.heights_mm[[0, -1]]
        note(
            f"The volume extends from {low:.1f} to {high:.1f} mm along the slice normal; the "
            "header does not give the number of slices, so missing end slices cannot be detected."
        )


def _doubled(count: int, height_mm: float) -> VolumeError:
    return VolumeError(
        "duplicate-position",
        f"{count} slice(s) have the position of another but different pixels, the first at "
        f"{height_mm:.2f} mm along the slice normal: one series has several time points, echoes "
        "or phases.",
        "Split it into one series for each of them and give the one that shows the anatomy.",
    )
