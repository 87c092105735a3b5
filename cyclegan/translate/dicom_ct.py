"""Write a synthetic CT as a DICOM series: CT Image Storage (PS3.3 A.3), one file per slice.

Values are HU, int16 with slope 1 and intercept 0; the position of a slice is the centre of its
first voxel, in LPS. Patient and study of the series come from `dicom_source`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence as Items
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from cyclegan.translate.dicom_source import Origin, Reference, images_at
from mrct.errors import VolumeError
from mrct.imaging.hounsfield import SOFT_TISSUE_WINDOW_HU, WINDOW_HU
from mrct.imaging.volume import LPS_TO_RAS, Affine
from mrct.version import DISTRIBUTION, __version__

RESEARCH_ONLY = "For research only: not for diagnosis, treatment or dose."
SERIES = "Synthetic CT (research only)"
_IMPLEMENTATION = UID("2.25.287640561379840236482917264530917263540")
_SERIES_NUMBER = 9000
"""Offset to the source's series number, so that a viewer lists the synthetic series after the
acquired ones."""
_SKEW = 1e-4
"""Largest cosine of the angle between rows and columns, which readers tolerate."""
_SYNTHESISED = Code("SYNTHCT", "99CYCLEGAN", "Synthetic CT by neural network")
_RESAMPLED = Code("113085", "DCM", "Spatial resampling")
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_SYNTHESISING = Code("109100", "DCM", "Synthesizing Equipment")


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSeriesMetadata:
    """Origin of the values, for the derivation tags."""

    text: str
    """Model and input of the result, without patient text."""
    is_moved: bool
    """Whether its slices are at other positions than those of the source."""


def ct_files(
    hu: NDArray[np.int16], affine: Affine, origin: Origin, metadata: SyntheticSeriesMetadata
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the file of each slice of `hu` [z, y, x]; `affine` maps to RAS mm.

    Raises VolumeError (`skewed`) if rows and columns are not perpendicular, which DICOM cannot
    represent.
    """
    assert hu.dtype == np.int16, f"{hu.dtype} voxels: they must be rounded HU"
    low, high = int(hu.min()), int(hu.max())
    assert WINDOW_HU[0] <= low <= high <= WINDOW_HU[1], f"{low} to {high} is beyond HU"
    to_lps = LPS_TO_RAS @ affine
    lengths = np.linalg.norm(to_lps[:3, :3], axis=0)
    directions = to_lps[:3, :3] / lengths
    if abs(float(directions[:, 0] @ directions[:, 1])) > _SKEW:
        raise VolumeError(
            "skewed",
            "The rows and columns of its slices are not perpendicular, which DICOM cannot "
            "represent.",
            "Give --axial to resample it to axial slices, or --format nifti.",
        )
    common = _series(origin, metadata)
    common.Rows, common.Columns = hu.shape[1:]
    common.PixelSpacing = _decimals([lengths[1], lengths[0]])
    common.ImageOrientationPatient = _decimals(directions[:, :2].T.ravel(), digits=13)
    normal = np.cross(directions[:, 0], directions[:, 1])
    gap = abs(float(to_lps[:3, 2] @ normal))
    (common.SliceThickness,) = (common.SpacingBetweenSlices,) = _decimals([gap])
    # Slices are numbered along their normal, whatever the direction of the array.
    order = range(len(hu)) if to_lps[:3, 2] @ normal >= 0 else range(len(hu) - 1, -1, -1)
    for number, index in enumerate(order, start=1):
        dataset = Dataset()
        dataset.update(common)
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient = _decimals(to_lps[:3, 3] + index * to_lps[:3, 2])
        if sources := images_at(origin, index, len(hu)):
            dataset.SourceImageSequence = _references(sources, metadata)
        dataset.PixelData = np.ascontiguousarray(hu[index], "<i2").tobytes()
        dataset["PixelData"].VR = "OW"
        yield f"CT{number:06d}.dcm", _encode(dataset)


def derivation_of(folder: Path) -> str:
    """Return the derivation text of a series that this project wrote, or an empty string."""
    for path in sorted(folder.glob("CT*.dcm"))[:1]:
        try:
            tags = dcmread(path, specific_tags=["DerivationDescription"], stop_before_pixels=True)
        except (OSError, InvalidDicomError, ValueError):
            return ""
        return str(tags.get("DerivationDescription", ""))
    return ""


def supine_position(position: str) -> str:
    """Return the PatientPosition that agrees with axial slices along the patient's axes.

    Their rows run to the patient's left and their columns to the back, as in a supine patient,
    whatever the position in the scanner was (prone, HFP; decubitus, FFDR).
    """
    return f"{position[:2]}S" if position[:2] in ("HF", "FF") else position


def _series(origin: Origin, metadata: SyntheticSeriesMetadata) -> Dataset:
    """Return the tags that all slices share, except geometry."""
    now = datetime.now()
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset = Dataset()
    for element in origin.tags:
        dataset.add(element)
    own = origin.tags.get("SeriesNumber")
    dataset.SeriesNumber = _SERIES_NUMBER + (int(own) if own and 0 < int(own) < 10**6 else 0)
    dataset.SOPClassUID = CTImageStorage
    dataset.SeriesInstanceUID = generate_uid(prefix=None)
    dataset.Modality = "CT"
    dataset.SeriesDescription = SERIES
    dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = day
    dataset.SeriesTime = dataset.ContentTime = dataset.InstanceCreationTime = time
    dataset.AcquisitionNumber = dataset.KVP = None  # nothing was acquired, nothing irradiated
    dataset.Manufacturer = dataset.ManufacturerModelName = DISTRIBUTION
    dataset.SoftwareVersions = __version__
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.ImageComments = RESEARCH_ONLY
    if metadata.is_moved:
        dataset.PatientPosition = supine_position(str(dataset.get("PatientPosition") or ""))
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.DerivationDescription = metadata.text
    codes = [_SYNTHESISED, _RESAMPLED] if metadata.is_moved else [_SYNTHESISED]
    dataset.DerivationCodeSequence = Items([_code_item(code) for code in codes])
    dataset.ContributingEquipmentSequence = Items([_equipment(now)])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
    low, high = SOFT_TISSUE_WINDOW_HU
    dataset.WindowCenter, dataset.WindowWidth = round((low + high) / 2), round(high - low)
    return dataset


def _equipment(now: datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Items([_code_item(_SYNTHESISING)])
    item.Manufacturer = item.ManufacturerModelName = DISTRIBUTION
    item.SoftwareVersions = __version__
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = f"Made a synthetic CT. {RESEARCH_ONLY}"
    return item


def _references(sources: Sequence[Reference], metadata: SyntheticSeriesMetadata) -> Items:
    items = []
    for source in sources:
        item = Dataset()
        item.ReferencedSOPClassUID = source.sop_class
        item.ReferencedSOPInstanceUID = source.sop_instance
        if frame := source.frame:
            item.ReferencedFrameNumber = frame
        item.PurposeOfReferenceCodeSequence = Items([_code_item(_SOURCE_IMAGE)])
        item.SpatialLocationsPreserved = "NO" if metadata.is_moved else "YES"
        items.append(item)
    return Items(items)


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _decimals(values: Sequence[float] | NDArray[np.float64], digits: int = 9) -> list[DSfloat]:
    """Return decimal strings of at most 16 characters, rounded to `digits` decimal places."""
    return [DSfloat(round(float(value), digits) + 0.0, auto_format=True) for value in values]


def _encode(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    content = BytesIO()
    file = FileDataset("", dataset, file_meta=meta, preamble=b"\0" * 128)
    file.save_as(content, enforce_file_format=True)
    return content.getvalue()
