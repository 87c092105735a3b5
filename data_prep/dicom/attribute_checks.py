"""Checks of DICOM headers that reject slices or a whole series before pixels are read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.dicom.grouping import SliceGroup
from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.splitting import ATTRIBUTES
from data_prep.dicom.stack_geometry import MIN_SLICES
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MODALITY_OF_CLASS: dict[str, Modality] = {
    f"{_STORAGE}2": "ct",
    f"{_STORAGE}2.1": "ct",  # enhanced
    f"{_STORAGE}2.2": "ct",  # enhanced, converted from single frames
    f"{_STORAGE}4": "mri",
    f"{_STORAGE}4.1": "mri",
    f"{_STORAGE}4.4": "mri",
}
_SINGLE_FRAME = {f"{_STORAGE}2", f"{_STORAGE}4"}
_TAGS: dict[Modality, str] = {"ct": "CT", "mri": "MR"}
_DICOMDIR = "1.2.840.10008.1.3.10"
_OTHERS = (
    (f"{_STORAGE}7", "secondary-capture", "a secondary capture (screenshot or scanned film)"),
    (f"{_STORAGE}88.", "structured-report", "a structured report or dose report"),
    (f"{_STORAGE}481.", "radiotherapy-object", "a radiotherapy structure set, plan or dose"),
    (_DICOMDIR, "dicomdir", "a DICOMDIR index; the files it lists are read directly"),
    ("", "not-ct-or-mr", "no CT or MR image"),
)
_UNCOMPRESSED = {f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".2")}
"""Transfer syntaxes in which the header tells the size of the pixels in the file."""
_WRITTEN_LOSS = 1e-3


def classify(header: SliceHeader) -> Modality | VolumeError:
    """Return the modality of a CT or MR slice, or the reason why the object is skipped."""
    modality = _MODALITY_OF_CLASS.get(header.sop_class)
    if modality is None:
        _, code, what = next(row for row in _OTHERS if header.sop_class.startswith(row[0]))
        return _skipped(code, what)
    if header.is_colour:
        return _skipped("colour", "a colour image: its values are neither HU nor magnitudes")
    return modality


def is_cut_off(header: SliceHeader) -> bool:
    """Return whether an object lacks tags that all objects have after their class: its file is cut
    off within the header.

    Such a slice cannot be assigned to its series, and its class may be missing too, so it must not
    be skipped as another kind of object.
    """
    if header.sop_class in _MODALITY_OF_CLASS:
        return not (header.series_uid and header.rows * header.columns * header.bits_allocated)
    return not header.series_uid and header.sop_class != _DICOMDIR


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """Counts over the whole input."""

    patients: Mapping[str, int]
    """Number of patients per series UID."""
    images: Mapping[tuple[str, int | None], int]
    """Number of images per (study, acquisition number), without copies: several at one position
    count if their headers differ."""

    @classmethod
    def of(cls, groups: Iterable[Sequence[SliceHeader]]) -> "Census":
        """Count patients and images."""
        persons: dict[str, set[str]] = defaultdict(set)
        images: dict[tuple[str, int | None], set[object]] = defaultdict(set)
        for group in groups:
            for header in group:
                persons[header.series_uid].add(header.person)
                place = (header.series_uid, header.orientation, header.position)
                separating = tuple(attribute(header) for attribute in ATTRIBUTES.values())
                images[header.study_uid, header.acquisition].add((place, separating))
        return cls(
            patients={uid: len(people) for uid, people in persons.items()},
            images={acquisition: len(places) for acquisition, places in images.items()},
        )


def group_fault(group: SliceGroup, census: Census, *, num_damaged: int) -> VolumeError | None:
    """Return the first fault of the slices of one volume, or None.

    `num_damaged` is the number of damaged files in the folder of the slices.
    """
    headers, modality = group.headers, group.modality
    num_patients = census.patients[headers[0].series_uid]
    if num_patients > 1:
        return VolumeError(
            "mixed-patients",
            f"One SeriesInstanceUID has slices of {num_patients} patients.",
            "Export the series again from the archive, one patient at a time.",
        )
    wrong = sum(header.modality not in ("", _TAGS[modality]) for header in headers)
    if wrong:
        return VolumeError(
            "modality-conflict",
            f"{wrong} of {len(headers)} {_TAGS[modality]} images have another modality in their "
            "Modality tag.",
            "Check the series; give it as its true modality, or leave it out.",
        )
    if num_damaged:
        whole = len({header.path for header in headers})
        return VolumeError(
            "file-damaged",
            f"{whole} of {whole + num_damaged} files of the folder can be read; the others are "
            "empty, truncated or damaged, and their slices would be missing.",
            "Copy the folder again from its source, or move unrelated files out of it.",
        )
    return (
        _several_grids(group)
        or _header_fault(headers)
        or _cut_off_pixels(headers)
        or _mixture(headers)
        or _lost_end(headers, census.images)
    )


def _several_grids(group: SliceGroup) -> VolumeError | None:
    """Return the fault of slices that share no grid, or None."""
    if group.directions > 1:
        return VolumeError(
            "too-few-slices",
            f"The series has {len(group.headers)} images in {group.directions} directions, fewer "
            f"than {MIN_SLICES} in each: too few for a volume.",
            "Leave out localizers and single images, or export the whole series again.",
        )
    frames = {header.frame_of_reference_uid for header in group.headers}
    if MIN_SLICES <= len(group.headers) == len(frames):
        return VolumeError(
            "mixed-volumes",
            f"Each of {len(frames)} images has its own FrameOfReferenceUID: whether their "
            "positions belong to one coordinate system is unknown.",
            "Export the series again from the archive. If an anonymiser replaced the UIDs one by "
            "one, anonymise again with equal UIDs for equal originals.",
        )
    return _several(group.grids, "frames of reference, sizes or stacks in one orientation")


def _header_fault(headers: Sequence[SliceHeader]) -> VolumeError | None:
    if any(header.frames > 1 and header.sop_class in _SINGLE_FRAME for header in headers):
        return _unusable("An image of a single-frame class has several frames, but one position")
    lacking = {
        "ImagePositionPatient": [header.position is None for header in headers],
        "ImageOrientationPatient": [header.orientation is None for header in headers],
        "PixelSpacing": [header.pixel_mm is None for header in headers],
    }
    missing = [f"{name} on {sum(lack)}" for name, lack in lacking.items() if any(lack)]
    if missing:
        return VolumeError(
            "header-incomplete",
            f"Missing or unusable tags: {', '.join(missing)} of {len(headers)} image(s), whose "
            "position in space is therefore unknown.",
            "Export the series again from the archive, with all tags.",
        )
    invalid = Counter(name for header in headers for name in header.invalid)
    if invalid:
        name, count = invalid.most_common(1)[0]
        return _unusable(f"{name} is no number on {count} of {len(headers)} images")
    sizes = np.array([header.pixel_mm for header in headers])
    if sizes.min() <= 0 or np.ptp(sizes, axis=0).max() > _WRITTEN_LOSS * sizes.min():
        return _unusable("PixelSpacing is not above 0 and equal on all images")
    row, column = np.array(headers[0].orientation).reshape(2, 3)
    products = np.array([row @ row - 1, column @ column - 1, row @ column])
    if np.abs(products).max() > _WRITTEN_LOSS:
        return _unusable("ImageOrientationPatient is not two perpendicular unit vectors")
    if any(
        header.bits_allocated not in (8, 16, 32)
        or not 1 <= header.bits_stored <= header.bits_allocated
        or header.high_bit != header.bits_stored - 1
        for header in headers
    ):
        return _unusable("BitsAllocated, BitsStored and HighBit are inconsistent")
    if len({header.photometric for header in headers}) > 1 or headers[0].photometric not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        return _unusable("PhotometricInterpretation is not monochrome and equal on all images")
    return None


def _cut_off_pixels(headers: Sequence[SliceHeader]) -> VolumeError | None:
    """Return the fault of files too short for the pixels that their headers claim, or None."""
    short = sum(
        header.transfer_syntax in _UNCOMPRESSED
        and header.frames * header.rows * header.columns * header.bits_allocated // 8
        > header.stamp[1]
        for header in headers
    )
    if not short:
        return None
    return VolumeError(
        "pixels-unreadable",
        f"{len(headers) - short} of {len(headers)} images are readable. The other files end before "
        "the last of the pixels that their headers claim.",
        "Copy the files again from their source.",
    )


def _mixture(headers: Sequence[SliceHeader]) -> VolumeError | None:
    """Return the fault of several volumes that share one set of positions, or None.

    Each could pass for a regular volume with wider gaps, so positions alone cannot show it.
    """
    for name, what in (
        ("EchoTime", "echo times"),
        ("TemporalPosition", "time points (temporal positions)"),
    ):
        found = {ATTRIBUTES[name](header) for header in headers} - {None}
        if error := _several(len(found), what):
            return error
    return None


def _several(count: int, what: str) -> VolumeError | None:
    if count <= 1:
        return None
    return VolumeError(
        "mixed-volumes",
        f"One SeriesInstanceUID has images of {count} {what}: they are not one volume.",
        "Split it into one series for each of them and give the one that shows the anatomy.",
    )


def _lost_end(
    headers: Sequence[SliceHeader], images: Mapping[tuple[str, int | None], int]
) -> VolumeError | None:
    """Return the fault of fewer images than ImagesInAcquisition gives, or None.

    An acquisition may be spread over several series of a study (echoes, phases): then all of them
    together must have exactly that many, or one of them a whole fraction of it, if its header
    numbers the echoes or the time points.
    """
    for number in {header.acquisition for header in headers}:
        members = [header for header in headers if header.acquisition == number]
        expected = max(header.images_in_acquisition or 0 for header in members)
        have, total = len({h.position for h in members}), images[members[0].study_uid, number]
        is_numbered = any(h.echo_number is not None or h.moment is not None for h in members)
        if have < expected != total and not (is_numbered and expected % have == 0):
            found = total if total < expected else have
            return VolumeError(
                "images-missing",
                f"The files hold {found} of the {expected} images of an acquisition "
                "(ImagesInAcquisition): slices are missing, perhaps at an end, where no gap "
                "shows it.",
                "Export the whole series again from the archive.",
            )
    return None


def _unusable(found: str) -> VolumeError:
    return VolumeError("header-unusable", f"{found}.", "Export the series again from the archive.")


def _skipped(code: str, what: str) -> VolumeError:
    return VolumeError(code, f"The object is {what}.", "Nothing to do: it is skipped.")
