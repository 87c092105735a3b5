"""Converts the tags of one DICOM frame to a slice header, by allow-list.

Of the tags that identify a patient, only the input of the pseudonym and a digest are kept.
"""

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import MutableSequence
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from data_prep.dicom.slice_header import SliceHeader
from data_prep.readers.file_state import Stamp

# fmt: off
HEADER_TAGS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "PixelPresentation",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "InstitutionName",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
    "ImagesInAcquisition", "EchoTime",
    "TemporalPositionIdentifier", "SamplesPerPixel", "PhotometricInterpretation",
    "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "LossyImageCompression",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]
# fmt: on
_MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
}
"""Sequences of enhanced multi-frame objects for tags that single frames have at the top level
(PS3.3 C.7.6.16)."""
_LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
"""Transfer syntaxes that cannot be without loss: JPEG of 8 and 12 bits, near-lossless JPEG-LS."""


def frames_of(dataset: Dataset) -> int:
    """Return the number of frames that an object claims."""
    return int(dataset.get("NumberOfFrames") or 1)


def slice_header(
    path: Path, stamp: Stamp, dataset: Dataset, groups: list[Dataset], frame: int
) -> SliceHeader:
    """Return the header of one frame; `groups` are its own functional groups, then the shared ones.

    Raises ValueError if it has no SOP class, and whatever pydicom raises for damaged values.
    """

    def value(keyword: str) -> Any:
        for group in groups:
            for item in group.get(_MACROS.get(keyword, "")) or []:
                if item.get(keyword) is not None:
                    return item.get(keyword)
        return dataset.get(keyword)

    def text(keyword: str) -> str:
        return str(value(keyword) or "").strip()

    def numbers(keyword: str, count: int) -> tuple[float, ...] | None:
        found = value(keyword)
        many = found if isinstance(found, MutableSequence) else [found]
        parts = tuple(float(part) for part in many if part not in (None, ""))
        return parts if len(parts) == count and all(map(math.isfinite, parts)) else None

    def number(keyword: str) -> float | None:
        found = numbers(keyword, 1)
        return found[0] if found else None

    def whole(keyword: str) -> int | None:
        found = value(keyword)
        return None if found in (None, "") else int(found)

    # A DICOMDIR, and a file cut off early, name their class in the meta information alone.
    sop_class = text("SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not sop_class:
        raise ValueError("no SOPClassUID")
    identity = text("PatientID") + "\0" + text("IssuerOfPatientID")
    name, birth_date = plain_name(text("PatientName")), text("PatientBirthDate")
    bits = whole("BitsAllocated") or 0
    is_signed = whole("PixelRepresentation") == 1
    image_type = value("ImageType") or ()
    colour = (whole("SamplesPerPixel") or 1) > 1 or "COLOR" in (
        text("PhotometricInterpretation") + text("PixelPresentation")
    )
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return SliceHeader(
        path=path,
        stamp=stamp,
        frame=frame,
        frames=frames_of(dataset),
        identity=identity,
        person=_digest("\0".join((identity, name, birth_date))),
        name_digest=_digest(name),
        birth_date_digest=_digest(birth_date),
        institution_digest=_digest(text("InstitutionName").upper()),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        sop_class=sop_class,
        transfer_syntax=syntax,
        modality=text("Modality"),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(map(str, image_type)),
        is_colour=colour,
        is_lossy=text("LossyImageCompression") == "01" or syntax in _LOSSY,
        photometric=text("PhotometricInterpretation"),
        series_number=whole("SeriesNumber"),
        acquisition=whole("AcquisitionNumber"),
        images_in_acquisition=whole("ImagesInAcquisition"),
        stack=text("StackID"),
        moment=whole("TemporalPositionIndex") or whole("TemporalPositionIdentifier"),
        echo_ms=number("EchoTime") or number("EffectiveEchoTime"),
        rows=whole("Rows") or 0,
        columns=whole("Columns") or 0,
        bits_allocated=bits,
        bits_stored=whole("BitsStored") or bits,
        high_bit=whole("HighBit") or bits - 1,
        is_signed=is_signed,
        position=numbers("ImagePositionPatient", 3),
        orientation=numbers("ImageOrientationPatient", 6),
        pixel_mm=numbers("PixelSpacing", 2),
        slope=number("RescaleSlope"),
        intercept=number("RescaleIntercept"),
        rescale_type=text("RescaleType"),
        padding=padding_range(
            whole("PixelPaddingValue"), whole("PixelPaddingRangeLimit"), bits, is_signed
        ),
    )


def plain_name(name: str) -> str:
    """Return the first spelling of a person's name, without its case and its separators.

    Scanners and archives write one name in several ways: Doe^John, DOE^JOHN^^, DOE JOHN.
    """
    return " ".join(re.split(r"[\^\s]+", name.partition("=")[0].upper())).strip()


def _digest(text: str) -> str:
    """Return a keyed digest, empty for no text; the key dies with the process."""
    content = text.encode("utf-8", "surrogateescape")
    return hmac.digest(_process_key(), content, hashlib.sha256).hex() if text.strip("\0") else ""


@cache
def _process_key() -> bytes:
    return secrets.token_bytes(32)


def padding_range(
    value: int | None, limit: int | None, bits: int, is_signed: bool
) -> tuple[int, int] | None:
    """Return the padding range in stored values, read bitwise because writers mix up its sign."""
    if value is None or not bits:
        return None
    ends = [
        (end + offset) % (1 << bits) - offset
        for offset in [1 << (bits - 1) if is_signed else 0]
        for end in (value, value if limit is None else limit)
    ]
    return min(ends), max(ends)
