"""Splits the slices of one grid into volumes by what their headers say apart from position.

A series may hold several images at each position: echoes, Dixon contrasts, phases of the heart or
of a contrast agent, diffusion weightings, or overlapping passes. An attribute splits them only
where that explains the positions, so that a value that differs from slice to slice splits nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.stack_geometry import MIN_SLICES, SPACING_CODES, Stack, stack_slices

Headers = Sequence[SliceHeader]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


ATTRIBUTES: dict[str, Callable[[SliceHeader], Hashable]] = {
    "ImageType": lambda header: (header.facts.image_type, header.facts.component),
    "DiffusionBValue": lambda header: header.facts.b_value,
    "EchoTime": lambda header: _rounded(header.facts.echo_ms),
    "InversionTime": lambda header: _rounded(header.facts.inversion_ms),
    "FlipAngle": lambda header: _rounded(header.facts.flip_degrees),
    "ContrastBolusAgent": lambda header: header.facts.has_agent,
    "TemporalPosition": lambda header: header.moment,
    "CardiacPhase": lambda header: _rounded(header.cardiac_phase),
    "AcquisitionNumber": lambda header: header.acquisition,
}
"""What may tell the volumes of a series apart, in the order in which it is tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeSlices:
    """The slices of one volume of a series."""

    headers: tuple[SliceHeader, ...]
    split_by: tuple[tuple[str, Hashable], ...] = ()
    """Attributes that tell them from the other volumes of the series, with their values."""


def split_volumes(volume: VolumeSlices) -> list[VolumeSlices]:
    """Return the volumes that slices of one grid are of, in the order of their first slices.

    The result has one element if no attribute explains the positions; `faults` of the stack and
    the reader then say what is wrong.
    """
    if any(header.position is None or header.orientation is None for header in volume.headers):
        return [volume]
    stack = stack_of_slices(volume.headers)
    is_doubled = len(stack.places) < len(volume.headers)
    if not is_doubled and "irregular-spacing" not in _fault_codes(stack):
        return [volume]
    for name, attribute in ATTRIBUTES.items():
        parts: dict[Hashable, list[SliceHeader]] = defaultdict(list)
        for header in volume.headers:
            parts[attribute(header)].append(header)
        explains = _separates if is_doubled else _unweaves
        if len(parts) > 1 and explains(stack, list(parts.values())):
            return [
                each
                for value, headers in parts.items()
                for each in split_volumes(
                    VolumeSlices(headers=tuple(headers), split_by=(*volume.split_by, (name, value)))
                )
            ]
    return [volume]


def stack_of_slices(headers: Headers) -> Stack:
    """Return the stack geometry of slices that all have a position and one orientation."""
    rows_mm, columns_mm = headers[0].pixel_mm or (1.0, 1.0)  # lacking it is refused elsewhere
    return stack_slices(
        np.array([header.position for header in headers], dtype=np.float64),
        np.array(headers[0].orientation, dtype=np.float64),
        (rows_mm, columns_mm),
    )


def _separates(whole: Stack, parts: list[list[SliceHeader]]) -> bool:
    """Return whether images at one position come apart into parts that can be volumes."""
    places = [len(stack_of_slices(part).places) for part in parts]
    return sum(places) > len(whole.places) and max(places) >= MIN_SLICES


def _unweaves(whole: Stack, parts: list[list[SliceHeader]]) -> bool:
    """Return whether unevenly spaced slices are passes over the same region, each evenly spaced."""
    if min(map(len, parts)) < MIN_SLICES:
        return False
    heights = [stack_of_slices(part).heights_mm for part in parts]
    overlap = min(each[-1] for each in heights) - max(each[0] for each in heights)
    step = max(float(np.median(np.diff(each))) for each in heights)
    if overlap <= step:
        return False
    return all(_fault_codes(stack_of_slices(part)).isdisjoint(SPACING_CODES) for part in parts)


def _fault_codes(stack: Stack) -> set[str]:
    return {fault.code for fault in stack.faults()}
