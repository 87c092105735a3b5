"""Finds DICOM series in folders, and refuses those whose headers rule them out.

`data_prep.dicom.reader` reads their pixels.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from data_prep.dicom.attribute_checks import Census, classify, group_fault, is_cut_off
from data_prep.dicom.files import HEAD_BYTES, looks_like_dicom, read_headers
from data_prep.dicom.grouping import SliceGroup, group_slices
from data_prep.dicom.image_facts import ImageFacts
from data_prep.dicom.image_kind import ImageKind
from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.splitting import stack_of_slices
from data_prep.dicom.stack_geometry import Fault, Stack
from data_prep.readers.file_state import read_with_retry, stamp_of, unreadable
from data_prep.readers.formats import VOLUME_SUFFIXES
from data_prep.readers.header_checks import check_extent
from data_prep.readers.tolerances import STRICT, Leniency
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Series:
    """The frames that could be one volume, or other objects with the reason to skip them.

    `repr` shows no path, identity or UID.
    """

    headers: tuple[SliceHeader, ...] = field(repr=False)
    """Headers in the order of the files; they are sorted by position later."""
    modality: Modality | None
    """None if it is neither a CT nor an MR."""
    error: VolumeError | None
    """Why the headers rule it out; `refusal` also checks its geometry."""
    damaged: tuple[Path, ...] = field(default=(), repr=False)
    """Unreadable files in its folder; for a series without headers, the files themselves."""
    was_split: bool = False
    """Whether each slice had its own series UID."""
    kind: ImageKind = "unknown"
    split_by: tuple[tuple[str, object], ...] = field(default=(), repr=False)
    """Attributes that tell the volume from the others of its series, with their values."""
    if_asked: "Series | None" = field(default=None, repr=False)
    """Of images that show no anatomy, the series to convert if its kind is asked for by name."""

    @property
    def facts(self) -> ImageFacts:
        """How its first image was made."""
        return self.headers[0].facts if self.headers else ImageFacts()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All its files, sorted."""
        return tuple(sorted({header.path for header in self.headers} | set(self.damaged)))

    @property
    def patient_id(self) -> str:
        """PatientID, which may be empty; never stored or shown."""
        return self.headers[0].identity.split("\0")[0] if self.headers else ""

    @property
    def identity(self) -> str:
        """Identity from which the subject's pseudonym is computed; never stored or shown."""
        if not self.headers:
            return ""
        first = self.headers[0]
        return first.identity if first.identity.strip("\0") else first.study_uid

    @property
    def name(self) -> str:
        """Identity from which the volume's pseudonym is computed: unique, the same on every run."""
        if not self.headers:
            return "\0".join(map(os.fspath, self.damaged))
        first = self.headers[0]
        turned = [round(cosine, 2) + 0.0 for cosine in first.orientation or ()]
        uids = (first.identity, first.study_uid, first.series_uid, first.frame_of_reference_uid)
        own = [f"{attribute}={value}" for attribute, value in self.split_by]
        return "\0".join((*uids, f"{first.rows} {first.columns} {turned}", *own))

    def __str__(self) -> str:
        if not self.headers:
            return f"{len(self.damaged)} unreadable file(s)"
        first = self.headers[0]
        kind = {"ct": "CT", "mri": "MR", None: "other"}[self.modality]
        return f"{kind}, {len(self.headers)} image(s) of {first.rows} x {first.columns}"


def find_series(*folders: Path) -> list[Series]:
    """Return all DICOM series at any depth below the folders, sorted by their first file.

    Objects that are not CT or MR slices, and damaged files, are returned as series with an
    `error`, so that they can be counted. Other files (without the DICOM prefix) are ignored, also
    empty ones unless they are named like the slices beside them. Links that lead out of the folder
    are not followed.
    """
    headers: list[SliceHeader] = []
    damaged: dict[Path, VolumeError] = {}
    without_content: dict[Path, VolumeError] = {}
    for path in chain.from_iterable(_files(folder, damaged) for folder in folders):
        try:
            read_with_retry(partial(stamp_of, path))
            with path.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
            if looks_like_dicom(head):
                frames = read_headers(path)
                if any(map(is_cut_off, frames)):
                    damaged[path] = _no_content("The file ends within its header.")
                else:
                    headers += frames
            elif not any(head) or path.suffix.lower() in _DICOM_SUFFIXES:
                found = (
                    "The file has a DICOM suffix but not DICOM content."
                    if any(head)
                    else "The file is empty."
                )
                without_content[path] = _no_content(found)
        except OSError as error:
            damaged[path] = unreadable(error)
        except VolumeError as error:
            damaged[path] = error
    damaged |= _lost_slices(without_content, headers)
    return sorted(_series_of(headers, damaged), key=lambda series: series.paths[0])


def stack_of(series: Series) -> Stack:
    """Return the stack geometry of a series without `error`."""
    return stack_of_slices(series.headers)


def grid_of(series: Series) -> Grid:
    """Return the grid of a series without `error`: the even grid nearest to its slices."""
    return _grid(series, stack_of(series))


def _grid(series: Series, stack: Stack) -> Grid:
    first = series.headers[0]
    return Grid(shape=(len(stack.places), first.rows, first.columns), affine=stack.affine)


def refusal(series: Series, leniency: Leniency = STRICT) -> VolumeError | None:
    """Return why the headers rule the series out as a volume, or None.

    One error lists all faults of the slices' places, under the code of the most severe.
    """
    if series.error:
        return series.error

    def is_accepted(fault: Fault) -> bool:
        if fault.code == "irregular-spacing":
            return leniency.resample_irregular and fault.widest_gap <= leniency.max_gap
        return fault.code == "gantry-tilt" and leniency.resample_tilt

    stack = stack_of(series)
    faults = [fault for fault in stack.faults() if not is_accepted(fault)]
    if not faults:
        try:
            check_extent(_grid(series, stack))
        except VolumeError as error:
            return error
        return None
    return VolumeError(
        faults[0].code,
        " ".join(fault.reason for fault in faults),
        " ".join(dict.fromkeys(fault.remedy for fault in faults)),
    )


def _files(folder: Path, damaged: dict[Path, VolumeError]) -> Iterator[Path]:
    root = folder.resolve()

    def closed(error: OSError) -> None:
        damaged[Path(error.filename)] = unreadable(error)

    for parent, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or name.lower().endswith(VOLUME_SUFFIXES):
                continue  # hidden, or a file of one volume, which is read as such
            try:
                if not path.resolve().is_relative_to(root):
                    continue
            except (OSError, RuntimeError):  # a loop of links; opening it raises the error
                pass
            yield path


def _series_of(
    headers: Iterable[SliceHeader], damaged: Mapping[Path, VolumeError]
) -> Iterator[Series]:
    skipped: dict[tuple[str, ...], list[SliceHeader]] = defaultdict(list)
    reasons: dict[tuple[str, ...], VolumeError] = {}
    usable: list[tuple[SliceHeader, Modality]] = []
    for header in headers:
        modality = classify(header)
        if isinstance(modality, VolumeError):
            lot = (header.study_uid, header.series_uid, modality.code)
            skipped[lot].append(header)
            reasons[lot] = modality
        else:
            usable.append((header, modality))
    for key, members in skipped.items():
        yield Series(headers=tuple(members), modality=None, error=reasons[key])
    groups = group_slices(usable)
    census = Census.of(group.headers for group in groups)
    beside, alone = _share_out(damaged, groups)
    for paths in alone:
        yield Series(
            headers=(), modality=None, error=_joint_error(damaged, paths), damaged=tuple(paths)
        )
    for index, group in enumerate(groups):
        series = Series(
            headers=group.headers,
            modality=group.modality,
            error=group_fault(group, census, num_damaged=len(beside[index])),
            damaged=tuple(beside[index]),
            was_split=group.was_split,
            kind=group.kind,
            split_by=group.split_by,
        )
        if group.not_anatomy:
            yield replace(series, modality=None, error=group.not_anatomy, if_asked=series)
        else:
            yield series


def _share_out(
    damaged: Iterable[Path], groups: Sequence[SliceGroup]
) -> tuple[dict[int, list[Path]], list[list[Path]]]:
    """Assign damaged files to the only group of their folder that shows anatomy; return the others
    by folder."""
    folders: dict[Path, set[int]] = defaultdict(set)
    for index, group in enumerate(groups):
        if group.not_anatomy is None:
            for header in group.headers:
                folders[header.path.parent].add(index)
    beside: dict[int, list[Path]] = defaultdict(list)
    alone: dict[Path, list[Path]] = defaultdict(list)
    for path in damaged:
        owners = folders.get(path.parent, set())
        if len(owners) == 1:
            beside[next(iter(owners))].append(path)
        else:
            alone[path.parent].append(path)
    return beside, list(alone.values())


def _joint_error(damaged: Mapping[Path, VolumeError], paths: Sequence[Path]) -> VolumeError:
    """Return one error for all damaged files of a folder."""
    first = damaged[paths[0]]
    if len(paths) == 1:
        return first
    return VolumeError(
        first.code,
        f"{len(paths)} files of one folder cannot be read. The first: {first.reason}",
        first.remedy,
    )


def _lost_slices(
    without_content: Mapping[Path, VolumeError], headers: Iterable[SliceHeader]
) -> dict[Path, VolumeError]:
    """Return the files without content that may have been slices: those named like the slices of
    their folder, and all in a folder without slices or whose slices have names of no pattern."""
    slices: dict[Path, set[str]] = defaultdict(set)
    for header in headers:
        slices[header.path.parent].add(header.path.name)
    forms = {folder: {_form(name) for name in names} for folder, names in slices.items()}
    return {
        path: error
        for path, error in without_content.items()
        if (own := forms.get(path.parent)) is None
        or _form(path.name) in own
        or (len(own) > 1 and 2 * len(own) > len(slices[path.parent]))
    }


def _form(name: str) -> str:
    """Return a file's name with every number, or UID, replaced by one sign."""
    return re.sub(r"[0-9.]+", "#", name.lower())


def _no_content(found: str) -> VolumeError:
    return VolumeError("header-damaged", found, "Copy the file again from its source.")
