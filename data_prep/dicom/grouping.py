"""Groups DICOM slices that belong together, by their headers.

The slices of a group share patient, study, series UID, frame of reference, matrix, stack and
orientation, whatever the files are called.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.stack_geometry import MIN_SLICES
from mrct.imaging.volume import Modality

_SAME_ORIENTATION = 1e-3
Slices = Sequence[tuple[SliceHeader, Modality]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceGroup:
    """Slices that could be one volume."""

    modality: Modality
    headers: tuple[SliceHeader, ...]
    """In the order of the files."""
    was_split: bool
    """Whether each slice had its own series UID."""
    num_parallel: int
    """Number of groups of this orientation in the series, including this one; 1 if it is valid."""


def group_slices(slices: Slices) -> list[SliceGroup]:
    """Return all groups, in the order of their first slices."""
    stems = _stems(slices)
    series: dict[tuple[str, ...], list[list[SliceHeader]]] = defaultdict(list)
    for header, modality in slices:
        uid = stems.get(header.series_uid, header.series_uid)
        groups = series[modality, header.identity, header.study_uid, uid]
        own = next((group for group in groups if _is_one_grid(header, group[0])), None)
        if own is None:
            groups.append(own := [])
        own.append(replace(header, series_uid=uid))
    return [
        SliceGroup(
            modality="ct" if modality == "ct" else "mri",
            headers=tuple(group),
            was_split=uid in stems.values(),
            num_parallel=sum(_is_parallel(group[0], other[0]) for other in groups),
        )
        for (modality, _, _, uid), groups in series.items()
        for group in groups
    ]


def _stems(slices: Slices) -> dict[str, str]:
    """Return replacements for the series UIDs of slices that have one each but are one series.

    Canon's classic MR objects count slices in the last part of the series UID (dcm2niix issue
    495). They are joined if all else agrees: patient, study, series number, acquisition, kind of
    image, and the UID up to its last part. Their positions are checked later as for any series.
    """
    counts = Counter(header.series_uid for header, _ in slices)
    lots: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for header, modality in slices:
        stem = header.series_uid.rpartition(".")[0]
        if header.series_number is not None and counts[header.series_uid] == 1 and stem:
            number = (header.series_number, header.acquisition, header.image_type)
            lots[modality, header.person, header.study_uid, *number, stem].append(header.series_uid)
    return {
        uid: str(stem)
        for (*_, stem), uids in lots.items()
        if len(uids) >= MIN_SLICES and stem not in counts
        for uid in uids
    }


def _is_one_grid(one: SliceHeader, other: SliceHeader) -> bool:
    """Return whether two slices share a grid; a slice without orientation fits any grid of its
    size, so that its group is refused later."""
    return (
        one.frame_of_reference_uid == other.frame_of_reference_uid
        and (one.rows, one.columns, one.stack) == (other.rows, other.columns, other.stack)
        and _is_parallel(one, other)
    )


def _is_parallel(one: SliceHeader, other: SliceHeader) -> bool:
    if one.orientation is None or other.orientation is None:
        return True
    return np.allclose(one.orientation, other.orientation, atol=_SAME_ORIENTATION)
