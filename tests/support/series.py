"""Small DICOM series on disk for tests, through pydicom: an ellipsoid of tissue in air, with faults
planted by editing single slices."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SHAPE = (8, 40, 36)  # [z, y, x]; JPEG 2000 wants 32 pixels or more
PIXEL_MM = (0.9, 0.8)  # between rows, between columns
STEP_MM = 3.0
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SOP_CLASS = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}

SERIES_UID = {"CT": "1.2.3.4", "MR": "1.2.3.5"}
MOVED = [
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
]
"""What an enhanced object keeps in its functional groups."""

Change = Callable[[int, Dataset], None]


def nothing(index: int, dataset: Dataset) -> None:
    """Plant no fault."""


def setting(**tags: object) -> Change:
    """A change that sets tags on all slices."""

    def change(index: int, dataset: Dataset) -> None:
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

    return change


def on(at: int, **tags: object) -> Change:
    """A change that sets tags on one slice."""
    return lambda index, dataset: setting(**tags)(index, dataset) if index == at else None


def lacking(at: int, keyword: str) -> Change:
    """A change that takes a tag from one slice."""
    return lambda index, dataset: delattr(dataset, keyword) if index == at else None


def every(change: Callable[[Dataset], object]) -> Change:
    """A change that does one thing to all slices."""

    def on_each(index: int, dataset: Dataset) -> None:
        change(dataset)

    return on_each


def both(*changes: Change) -> Change:
    """A change that makes several, in this order."""

    def change(index: int, dataset: Dataset) -> None:
        for each in changes:
            each(index, dataset)

    return change


def values(modality: str) -> np.ndarray:
    """HU or magnitudes [z, y, x], different on every slice."""
    z, y, x = np.indices(SHAPE)
    inside = ((y - 19.5) / 15) ** 2 + ((x - 17.5) / 12) ** 2 < 1
    texture = (3 * x + 5 * y + 7 * z) % 60
    if modality == "CT":
        return np.where(inside, texture, -1000)
    return np.where(inside, 300 + texture, texture)


def slice_dataset(modality: str, index: int, orientation=AXIAL, step=None) -> FileDataset:
    """One slice as a scanner would write it: 12 of 16 bits, unsigned, CT with intercept -1024."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SOP_CLASS[modality]
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = SOP_CLASS[modality]
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientID, dataset.PatientName = "CANARY-ID", "CANARY^NAME"
    dataset.PatientBirthDate = "19010203"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", SERIES_UID[modality]
    dataset.FrameOfReferenceUID = "1.2.3.9"
    dataset.InstanceNumber = index + 1
    dataset.AcquisitionNumber = 1
    normal = np.cross(orientation[:3], orientation[3:])
    step = STEP_MM * normal if step is None else np.asarray(step)
    dataset.ImagePositionPatient = [round(v, 6) for v in np.array([-8, 10, -90]) + index * step]
    dataset.ImageOrientationPatient = list(orientation)
    dataset.PixelSpacing = list(PIXEL_MM)
    dataset.GantryDetectorTilt = 0
    dataset.Rows, dataset.Columns = SHAPE[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    pixels = values(modality)[index]
    if modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
        pixels = pixels + 1024
    set_pixels(dataset, pixels)
    return dataset


def set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Store whole numbers as 16 bits, little endian, whatever their sign."""
    dataset.PixelData = (np.asarray(pixels).astype(np.int64) & 0xFFFF).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def pixels_of(dataset: Dataset) -> np.ndarray:
    """The stored numbers of a slice made here."""
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    return np.frombuffer(dataset.PixelData, kind).reshape(dataset.Rows, dataset.Columns)


def write_series(
    folder: Path,
    change: Change = nothing,
    *,
    modality: str = "CT",
    without: Collection[int] = (),
    orientation=AXIAL,
    step=None,
    name: str = "{:03d}.dcm",
) -> Path:
    """Write a series, one file a slice, `change(index, dataset)` having edited each."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(SHAPE[0]):
        dataset = slice_dataset(modality, index, orientation, step)
        change(index, dataset)
        if index not in without:
            dataset.save_as(folder / name.format(index), enforce_file_format=True)
    return folder


def write_enhanced(path: Path, change: Callable[[Dataset], None] = lambda dataset: None) -> Path:
    """The CT as one enhanced multi-frame file, its frames in a shuffled order."""
    dataset = slice_dataset("CT", 0)
    order = [3, 0, 7, 1, 5, 2, 6, 4]
    dataset.SOPClassUID = SOP_CLASS["CT"] + ".1"
    dataset.NumberOfFrames = SHAPE[0]
    shared, measures, turned = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(PIXEL_MM)
    turned.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turned])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, stored = [], []
    for index in order:
        frame, place, rescale = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = slice_dataset("CT", index).ImagePositionPatient
        rescale.RescaleSlope, rescale.RescaleIntercept = 1 + index, -1024
        rescale.RescaleType = "HU"
        frame.PlanePositionSequence = Sequence([place])
        frame.PixelValueTransformationSequence = Sequence([rescale])
        frames.append(frame)
        stored.append(np.rint((values("CT")[index] + 1024) / (1 + index)))
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_pixels(dataset, np.stack(stored))
    for keyword in MOVED:
        delattr(dataset, keyword)
    change(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
