"""DICOM series that must not pass: slices out of place, headers that lie, several in one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from tests.faults.case import Case
from tests.support.series import (
    Change,
    both,
    lacking,
    nothing,
    on,
    pixels_of,
    set_pixels,
    setting,
    write_series,
)


def ct(what: str, code: str, change: Change = nothing, **how: object) -> Case:
    """A CT series with a fault planted in its slices."""
    return Case(what=what, code=code, make=lambda folder: write_series(folder, change, **how))


def mr(what: str, code: str, change: Change = nothing, **how: object) -> Case:
    """An MR series with a fault planted in its slices."""
    return Case(
        what=what,
        code=code,
        make=lambda folder: write_series(folder, change, modality="MR", **how),
        modality="MR",
    )


def at_heights(*heights: float) -> Change:
    """Slices at these heights instead of every 3 mm."""

    def change(index: int, dataset: Dataset) -> None:
        dataset.ImagePositionPatient = [-8, 10, -90 + heights[index]]

    return change


def on_every_other(**tags: object) -> Change:
    """A change that sets tags on slices 1, 3, 5 and 7."""
    return lambda index, dataset: setting(**tags)(index, dataset) if index % 2 else None


def brighter(index: int, dataset: Dataset) -> None:
    """Other pixels, as a second moment has."""
    set_pixels(dataset, pixels_of(dataset).astype(int) + 5)


def doubled(index: int, dataset: Dataset) -> None:
    """A second frame in a classic object, whose place nobody tells."""
    pixels = pixels_of(dataset)
    dataset.NumberOfFrames = 2
    set_pixels(dataset, np.stack([pixels, pixels + 5]))


def narrower(index: int, dataset: Dataset) -> None:
    """Four columns fewer on every other slice."""
    if index % 2:
        pixels = pixels_of(dataset)[:, :-4]
        dataset.Columns -= 4
        set_pixels(dataset, pixels)


def with_more(
    change: Change,
    *,
    only: int | None = None,
    without: tuple[int, ...] = (),
    first: Change = nothing,
) -> Callable[[Path], object]:
    """A series, and in it its slices (or one of them) once more, changed."""

    def make(folder: Path) -> None:
        write_series(folder, first, without=without)
        left_out = () if only is None else set(range(8)) - {only}
        write_series(folder, both(first, change), name="more{}", without=left_out)

    return make


PLACES = [
    ct("a slice is missing", "slice-missing", without={3}),
    ct("two slices are missing side by side", "slice-missing", without={3, 4}),
    ct("slices are missing in two places", "slice-missing", without={1, 5}),
    ct(
        "both end slices are missing (ImagesInAcquisition is set)",
        "images-missing",
        setting(ImagesInAcquisition=8),
        without={0, 7},
    ),
    Case(
        what="an end slice is missing and another is there twice",
        code="images-missing",
        make=with_more(nothing, only=3, without=(7,), first=setting(ImagesInAcquisition=8)),
    ),
    ct(
        "one gap is 1 mm wider than the others",
        "irregular-spacing",
        at_heights(0, 3, 6, 9, 13, 16, 19, 22),
    ),
    ct(
        "the gaps widen half way, from 3 to 4.5 mm",
        "irregular-spacing",
        at_heights(0, 3, 6, 9, 13.5, 18, 22.5, 27),
    ),
    ct(
        "a gap of 4 slices between two blocks",
        "irregular-spacing",
        at_heights(0, 3, 6, 9, 25, 28, 31, 34),
    ),
    ct(
        "two passes are interleaved, 1.3 mm beside each other",
        "irregular-spacing",
        at_heights(0, 1.3, 3, 4.3, 6, 7.3, 9, 10.3),
    ),
    ct("the gantry is tilted, and the tilt tag says 0", "gantry-tilt", step=(0, 1, 3)),
    ct("the gantry is tilted by 1 degree", "gantry-tilt", step=(0, 0.0524, 3)),
    ct(
        "a slice is shifted sideways by 3 mm",
        "slices-shifted",
        on(3, ImagePositionPatient=[-5, 10, -81]),
    ),
    ct("there are two slices", "too-few-slices", without={2, 3, 4, 5, 6, 7}),
    ct("there is one slice", "too-few-slices", without=set(range(1, 8))),
    Case(
        what="two slices at one position (other pixels, new UID)",
        code="duplicate-position",
        make=with_more(brighter, only=3),
    ),
    Case(
        what="two time points at the same positions in one series",
        code="duplicate-position",
        make=with_more(brighter),
    ),
]
MIXTURES = [
    ct("two patients in one series UID", "mixed-patients", on_every_other(PatientID="SECOND")),
    ct("two names under one patient ID", "mixed-patients", on(3, PatientName="SECOND^NAME")),
    ct(
        "two time points at alternating positions (TemporalPositionIdentifier)",
        "mixed-volumes",
        both(setting(TemporalPositionIdentifier=1), on_every_other(TemporalPositionIdentifier=2)),
    ),
    mr(
        "two echoes at alternating positions",
        "mixed-volumes",
        both(setting(EchoTime=22), on_every_other(EchoTime=90)),
    ),
    ct(
        "two frames of reference at alternating positions",
        "mixed-volumes",
        on_every_other(FrameOfReferenceUID="1.2.3.10"),
    ),
    ct(
        "a frame of reference for every slice",
        "mixed-volumes",
        lambda index, dataset: setattr(dataset, "FrameOfReferenceUID", f"1.2.3.{index}"),
    ),
    ct("two matrix sizes at alternating positions", "mixed-volumes", narrower),
    ct(
        "a slice turned by 10 degrees",
        "slice-missing",
        on(3, ImageOrientationPatient=[0.98480775, 0.17364818, 0, -0.17364818, 0.98480775, 0]),
    ),
    ct("the Modality tag of a CT is MR", "modality-conflict", setting(Modality="MR")),
    ct("the Modality tag of one slice is MR", "modality-conflict", on(7, Modality="MR")),
]
HEADERS = [
    ct("a slice without position", "header-incomplete", lacking(7, "ImagePositionPatient")),
    ct("a position of two numbers", "header-incomplete", on(7, ImagePositionPatient=[-8, 10])),
    ct("a slice without orientation", "header-incomplete", lacking(7, "ImageOrientationPatient")),
    ct("a slice without pixel spacing", "header-incomplete", lacking(7, "PixelSpacing")),
    ct("another pixel spacing on one slice", "header-unusable", on(7, PixelSpacing=[0.8, 0.8])),
    ct("a pixel spacing of 0", "header-unusable", setting(PixelSpacing=[0, 0.8])),
    ct("a pixel spacing of 0.9 m", "extent-implausible", setting(PixelSpacing=[900, 900])),
    ct(
        "rows and columns not at right angles",
        "header-unusable",
        setting(ImageOrientationPatient=[1, 0, 0, 0.5, 0.86602, 0]),
    ),
    ct(
        "orientation vectors not of unit length",
        "header-unusable",
        setting(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]),
    ),
    ct("two frames in an object of one position", "header-unusable", doubled),
    ct("HighBit away from the stored bits", "header-unusable", setting(HighBit=15)),
    ct("more bits stored than allocated", "header-unusable", setting(BitsStored=20, HighBit=19)),
    ct(
        "MONOCHROME1 on one slice",
        "header-unusable",
        on(3, PhotometricInterpretation="MONOCHROME1"),
    ),
]
