"""Groups DICOM slices that could be one volume, by their headers.

The slices of a group share patient, study, series UID, frame of reference, matrix, stack,
orientation and what the images show (anatomy, phase, map, ...), whatever the files are called.
`splitting` then parts several images at one position.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.dicom.image_kind import ImageKind, kind_of, left_out, not_anatomy
from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.splitting import VolumeSlices, split_volumes, stack_of_slices
from data_prep.dicom.stack_geometry import MIN_SLICES
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality

_SAME_ORIENTATION = 1e-3
_MOST_LOCALIZER_SLICES = 20
"""Localizers have 1 to 15 slices in each of their directions."""
_CROSSED = 0.7
"""Cosine between the normals of slices that cross: below it they are more than 45 degrees apart."""
_FAR_APART_MM = 10.5
"""Slices of clinical volumes are at most 10 mm apart (older body CT); those of localizers lie 10 to
30 mm apart, and interpolation would invent most of what lies between."""
Slices = Sequence[tuple[SliceHeader, Modality]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceGroup:
    """Slices that could be one volume."""

    modality: Modality
    headers: tuple[SliceHeader, ...]
    """In the order of the files."""
    kind: ImageKind
    not_anatomy: VolumeError | None
    """Why the images show no anatomy; None if they may."""
    split_by: tuple[tuple[str, object], ...] = ()
    """Attributes that tell the volume from the others of its series, with their values."""
    was_split: bool = False
    """Whether each slice had its own series UID."""
    grids: int = 1
    """Number of frames of reference, matrices and stacks in it; 1 if it is valid."""
    directions: int = 1
    """Number of orientations in it; above 1 for single slices that are left over."""


def group_slices(slices: Slices) -> list[SliceGroup]:
    """Return all groups, in the order of their first slices."""
    stems = _stems(slices)
    series: dict[tuple[str, ...], list[list[SliceHeader]]] = defaultdict(list)
    for header, modality in slices:
        uid = stems.get(header.series_uid, header.series_uid)
        reason = not_anatomy(header.facts)
        key = (modality, header.identity, header.study_uid, uid, reason.code if reason else "")
        stacks = series[key]
        own = next((stack for stack in stacks if _belongs(header, stack[0])), None)
        if own is None:
            stacks.append(own := [])
        own.append(replace(header, series_uid=uid) if uid != header.series_uid else header)
    groups = [
        replace(group, was_split=uid in stems.values())
        for (modality, _, _, uid, _), stacks in series.items()
        for group in _groups_of("ct" if modality == "ct" else "mri", stacks)
    ]
    order = {(header.path, header.frame): at for at, (header, _) in enumerate(slices)}
    return sorted(groups, key=lambda group: order[group.headers[0].path, group.headers[0].frame])


def _groups_of(modality: Modality, stacks: list[list[SliceHeader]]) -> Iterator[SliceGroup]:
    """Yield the groups of the parallel stacks of one series that show one sort of image."""
    single = [stack for stack in stacks if len(stack) < MIN_SLICES]
    if len(single) > 1:  # one entry for all, as of localizers or radial slices
        rest = sorted((h for stack in single for h in stack), key=lambda h: (h.path, h.frame))
        yield replace(_group(modality, VolumeSlices(headers=tuple(rest))), directions=len(single))
        stacks = [stack for stack in stacks if len(stack) >= MIN_SLICES]
    for stack in stacks:
        grids = len({_grid_of(header) for header in stack})
        whole = VolumeSlices(headers=tuple(stack))
        crossing = [len(other) for other in stacks if _cross(stack[0], other[0])]
        # An enhanced object that names two crossing stacks means them; three are a localizer.
        is_localizer = len(crossing) > bool(stack[0].stack) and (
            MIN_SLICES <= len(stack) <= min(_MOST_LOCALIZER_SLICES, 3 * sum(crossing))
        )
        for part in [whole] if grids > 1 else split_volumes(whole):
            group = replace(_group(modality, part), grids=grids)
            gap_mm = _gap_mm(part.headers)
            if group.not_anatomy is None and is_localizer:
                yield _as_localizer(group, "few slices in crossing directions")
            elif group.not_anatomy is None and gap_mm > _FAR_APART_MM:
                yield _as_localizer(group, f"slices {gap_mm:.3g} mm apart")
            else:
                yield group


def _group(modality: Modality, volume: VolumeSlices) -> SliceGroup:
    headers = volume.headers
    kinds = Counter(kind_of(header.facts, modality) for header in headers)
    return SliceGroup(
        modality=modality,
        headers=headers,
        kind=kinds.most_common(1)[0][0],
        not_anatomy=not_anatomy(headers[0].facts),
        split_by=volume.split_by,
    )


def _as_localizer(group: SliceGroup, why: str) -> SliceGroup:
    """Return a group that its geometry, not its header, shows to be a localizer."""
    kind: ImageKind = "localizer" if group.modality == "mri" else "topogram"
    return replace(group, kind=kind, not_anatomy=left_out("localizer", f"a localizer: {why}"))


def _gap_mm(headers: Sequence[SliceHeader]) -> float:
    """Return the median distance between neighbouring slices; 0 if it is unknown."""
    if any(header.position is None or header.orientation is None for header in headers):
        return 0.0
    gaps = stack_of_slices(headers).gaps_mm
    return float(np.median(gaps)) if len(gaps) >= MIN_SLICES - 1 else 0.0


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
            number = (header.series_number, header.acquisition, header.facts.image_type)
            lots[modality, header.person, header.study_uid, *number, stem].append(header.series_uid)
    return {
        uid: str(stem)
        for (*_, stem), uids in lots.items()
        if len(uids) >= MIN_SLICES and stem not in counts
        for uid in uids
    }


def _grid_of(header: SliceHeader) -> tuple[object, ...]:
    return (header.frame_of_reference_uid, header.rows, header.columns, header.stack)


def _belongs(one: SliceHeader, other: SliceHeader) -> bool:
    """Return whether two slices are parallel; a slice without orientation fits any of its grid, so
    that its group is refused later."""
    if one.orientation is None or other.orientation is None:
        return _grid_of(one) == _grid_of(other)
    return one.orientation == other.orientation or np.allclose(
        one.orientation, other.orientation, atol=_SAME_ORIENTATION
    )


def _cross(one: SliceHeader, other: SliceHeader) -> bool:
    if one.orientation is None or other.orientation is None:
        return False
    first, second = np.reshape([one.orientation, other.orientation], (2, 2, 3))
    return abs(float(np.cross(*first) @ np.cross(*second))) < _CROSSED
