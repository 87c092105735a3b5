"""DICOM series that must not pass: damaged files, pixels nobody can decode, numbers in no unit."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from tests.faults.case import Case
from tests.faults.harmful_series import ct, mr
from tests.support.compression import compress
from tests.support.series import (
    SHAPE,
    Change,
    both,
    every,
    lacking,
    on,
    pixels_of,
    set_pixels,
    setting,
    values,
    write_enhanced,
    write_series,
)

METAL = np.hypot(*np.indices(SHAPE[1:]) - np.array([20, 18])[:, None, None]) < 4
PRIVATE_SYNTAX = "1.2.840.113619.5.2"  # GE's, with pixels in the other byte order


def damaged(
    what: str, code: str, content: Callable[[bytes], bytes], change: Change = lambda i, d: None
) -> Case:
    """A CT series, the last file of which has other content."""

    def make(folder: Path) -> None:
        path = write_series(folder, change) / "007.dcm"
        path.write_bytes(content(path.read_bytes()))

    return Case(what=what, code=code, make=make)


def in_syntax(uid: str) -> Change:
    """Compressed pixels under another transfer syntax's name."""
    return every(
        lambda dataset: (
            dataset.compress(RLELossless),
            setattr(dataset.file_meta, "TransferSyntaxUID", uid),
        )
    )


def as_signed(pixels: Callable[[int], np.ndarray]) -> Change:
    """Slices of 16 signed bits with slope 1 and intercept 0: what is stored is what is meant."""

    def change(index: int, dataset: Dataset) -> None:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        set_pixels(dataset, pixels(index))

    return change


def stored(pixels: Callable[[int, np.ndarray], np.ndarray]) -> Change:
    """Other stored numbers, made of the slice's own."""
    return lambda index, dataset: set_pixels(dataset, pixels(index, pixels_of(dataset).astype(int)))


def fewer_rows(index: int, dataset: Dataset) -> None:
    """A header that tells of a part of the picture."""
    dataset.Rows = 30


def without_rescale(dataset: Dataset) -> None:
    """No slope, no intercept."""
    del dataset.RescaleSlope, dataset.RescaleIntercept


def phase(index: int, dataset: Dataset) -> None:
    """Angles from -pi to pi, as a phase picture has."""
    set_pixels(dataset, np.indices(SHAPE)[2][index] * 997 % 4096)
    dataset.RescaleSlope = f"{2 * np.pi / 4096:.10f}"
    dataset.RescaleIntercept = f"{-np.pi:.10f}"


def as_jpeg(index: int, dataset: Dataset) -> None:
    """8-bit JPEG of a soft tissue window, as viewers export it."""
    shown = (values("CT")[index] + 160) / 400
    stream = io.BytesIO()
    Image.fromarray((255 * shown.clip(0, 1)).astype(np.uint8)).save(stream, "JPEG")
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


FILES = [
    damaged("a file of 0 bytes", "file-damaged", lambda whole: b""),
    damaged("a file of zeros", "file-damaged", lambda whole: bytes(len(whole))),
    damaged("a file cut off in its header", "file-damaged", lambda whole: whole[:400]),
    damaged("a file cut off in its pixels", "pixels-unreadable", lambda whole: whole[:-1000]),
    damaged("a web page named .dcm", "file-damaged", lambda whole: b"<html>504 Time-out</html>"),
    damaged(
        "a compressed file cut off in its pixels",
        "pixels-unreadable",
        lambda whole: whole[:-1000],
        every(partial(compress, syntax=JPEG2000Lossless)),
    ),
    damaged(
        "a compressed file with garbage among its pixels",
        "pixels-unreadable",
        lambda whole: whole[:-300] + bytes(range(1, 101)) * 3,
        every(lambda dataset: dataset.compress(RLELossless)),
    ),
    ct(
        "a transfer syntax without a decoder",
        "transfer-syntax",
        in_syntax("1.2.840.10008.1.2.4.100"),
    ),
    ct("a private transfer syntax", "transfer-syntax", in_syntax(PRIVATE_SYNTAX)),
    ct("more rows than in the header", "pixels-unreadable", fewer_rows),
    ct("fewer rows than in the header", "pixels-unreadable", setting(Rows=41)),
    ct("a matrix of gigabytes", "pixels-unreadable", setting(Rows=65535, Columns=65535)),
    mr(
        "pixels in the other byte order",
        "byte-order",
        stored(lambda _, pixels: pixels.astype(np.uint16).byteswap()),
    ),
]
UNITS = [
    ct("no rescale on one slice of a CT", "rescale-missing", lacking(7, "RescaleIntercept")),
    ct("no rescale on any slice of a CT", "rescale-missing", every(without_rescale)),
    mr(
        "a rescale on one slice of an MR",
        "rescale-missing",
        on(7, RescaleSlope=2, RescaleIntercept=0),
    ),
    ct("a slope of 0 on one slice", "rescale-unusable", on(3, RescaleSlope=0)),
    mr(
        "a slope beyond 32-bit numbers",
        "not-finite",
        setting(RescaleSlope="1e38", RescaleIntercept=0),
    ),
    ct("an intercept applied twice", "all-air", setting(RescaleIntercept=-2048)),
    ct("RescaleType: effective atomic number", "not-hounsfield", setting(RescaleType="Z_EFF")),
    ct(
        "halved HU",
        "modality-conflict",
        as_signed(lambda index: values("CT")[index] // 2),
    ),
    ct(
        "an MR given as CT",
        "modality-conflict",
        both(stored(lambda index, _: values("MR")[index]), setting(RescaleIntercept=0)),
    ),
    ct(
        "an MR given as CT, with a CT's intercept",
        "all-air",
        stored(lambda index, _: values("MR")[index]),
    ),
    mr("a CT given as MR", "modality-conflict", as_signed(lambda index: values("CT")[index])),
    mr("a phase image given as MR", "standardised", phase),
    ct(
        "a CT whose sign is declared wrongly",
        "modality-conflict",
        both(as_signed(lambda index: values("CT")[index]), setting(PixelRepresentation=0)),
    ),
    ct(
        "a CT inverted with MONOCHROME1",
        "modality-conflict",
        both(
            stored(lambda _, pixels: 4095 - pixels),
            setting(PhotometricInterpretation="MONOCHROME1"),
        ),
    ),
    ct("an 8-bit JPEG of a CT, as a viewer shows it", "all-air", as_jpeg),
    ct(
        "metal of 4000 HU in 12 stored bits",
        "bits-stored",
        stored(lambda index, pixels: np.where(METAL, 5024, pixels)),
    ),
    ct("padding that means 0 HU", "padding-in-tissue", setting(PixelPaddingValue=1024)),
    ct(
        "nothing but padding",
        "constant",
        both(stored(lambda _, pixels: 0 * pixels), setting(PixelPaddingValue=0)),
    ),
    ct("nothing but air", "all-air", stored(lambda index, pixels: 0 * pixels + index)),
    mr("one value everywhere", "constant", stored(lambda _, pixels: 0 * pixels + 7)),
]


def enhanced(
    what: str, code: str, change: Callable[[Dataset], object], is_beside: bool = False
) -> Case:
    """One multi-frame CT file with a fault."""
    return Case(
        what=what,
        code=code,
        make=lambda folder: write_enhanced(folder / "a.dcm", change),
        is_beside=is_beside,
    )


def frame_content(**tags: Callable[[int], object]) -> Callable[[Dataset], None]:
    """Writes tags of FrameContentSequence, made from each frame's number."""

    def change(dataset: Dataset) -> None:
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            content = Dataset()
            for keyword, value in tags.items():
                setattr(content, keyword, value(number))
            frame.FrameContentSequence = Sequence([content])

    return change


def drop_frame(dataset: Dataset, number: int) -> None:
    """One frame less, in the header and in the pixels."""
    pixels = np.delete(pixels_of_frames(dataset), number, axis=0)
    del dataset.PerFrameFunctionalGroupsSequence[number]
    dataset.NumberOfFrames = len(pixels)
    set_pixels(dataset, pixels)


def pixels_of_frames(dataset: Dataset) -> np.ndarray:
    """The stored numbers [frames, y, x]."""
    return np.frombuffer(dataset.PixelData, "<u2").reshape(-1, dataset.Rows, dataset.Columns)


def forget_end_frame(dataset: Dataset) -> None:
    """The frame of an end slice less in the header, and all in the pixels."""
    del dataset.PerFrameFunctionalGroupsSequence[2]
    dataset.NumberOfFrames -= 1


ENHANCED = [
    enhanced("a frame is missing", "slice-missing", lambda dataset: drop_frame(dataset, 0)),
    enhanced(
        "a frame without position",
        "header-incomplete",
        lambda dataset: delattr(
            dataset.PerFrameFunctionalGroupsSequence[5], "PlanePositionSequence"
        ),
    ),
    enhanced(
        "fewer frames described than there are",
        "header-damaged",
        lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop(),
        is_beside=True,
    ),
    enhanced("more frames in the pixels than in the header", "pixels-unreadable", forget_end_frame),
    enhanced(
        "two time points (TemporalPositionIndex)",
        "mixed-volumes",
        frame_content(TemporalPositionIndex=lambda number: 1 + number % 2),
    ),
    enhanced(
        "two stacks in one direction (StackID)",
        "mixed-volumes",
        frame_content(StackID=lambda number: str(1 + number % 2)),
    ),
]
