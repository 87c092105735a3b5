"""Reads DICOM files with pydicom: slice headers and stored pixel values.

Tags are read by allow-list (`data_prep.dicom.tags`); no error contains text from the file.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from data_prep.dicom.bounded_file import HeaderFile, check_inflated, too_large
from data_prep.dicom.character_sets import UTF_8, true_character_set
from data_prep.dicom.slice_header import SliceHeader
from data_prep.dicom.tags import HEADER_TAGS, frames_of, slice_header
from data_prep.readers.file_state import file_changed, stamp_of, unreadable
from data_prep.readers.header_checks import MAX_BYTES
from data_prep.readers.pixel_codecs import plugin_of
from mrct.errors import VolumeError

HEAD_BYTES = 132
"""Bytes at the start of a file that `looks_like_dicom` needs."""
# fmt: off
_PIXEL_TAGS = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]
# fmt: on
_CHECKED_TEXTS = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyDescription",
)
"""Tags by whose bytes the character set is checked."""


def looks_like_dicom(head: bytes) -> bool:
    """Return whether a file with these first bytes is DICOM, with a preamble or without (old
    exports)."""
    return head[128:132] == b"DICM" or (head[:2] == b"\x08\0" and head[3:4] == b"\0")


def read_headers(path: Path) -> list[SliceHeader]:
    """Read one header per frame of a DICOM file, without its pixels.

    Enhanced CT and MR give one header for each frame, from the functional groups. Raises
    VolumeError (`unreadable`, `header-damaged`, `too-large`).
    """
    try:
        stamp = stamp_of(path)
        with _quiet():
            dataset = _read(path, HEADER_TAGS, stop_before_pixels=True)
            shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
            groups = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()]
            if len(groups) not in (1, frames_of(dataset)):
                raise _damaged()
            return [
                slice_header(path, stamp, dataset, [group, shared[0]], frame)
                for frame, group in enumerate(groups)
            ]
    except VolumeError:
        raise
    except OSError as error:  # pydicom's own, of damaged sequences, have no number
        raise (unreadable(error) if error.errno else _damaged()) from None
    except Exception:  # a hostile header makes pydicom raise whatever it likes, and quote itself
        raise _damaged() from None


def read_tags(path: Path, keywords: list[str]) -> Dataset:
    """Read the named tags of a DICOM file unchanged, patient text included, without its pixels.

    Raises VolumeError (`unreadable`, `header-damaged`, `too-large`).
    """
    try:
        with _quiet():
            dataset = _read(path, keywords, stop_before_pixels=True)
            for keyword in keywords:
                dataset.get(keyword)  # decodes the value here, where errors are caught
            return dataset
    except VolumeError:
        raise
    except OSError as error:
        raise (unreadable(error) if error.errno else _damaged()) from None
    except Exception:  # a hostile header makes pydicom raise whatever it likes, and quote itself
        raise _damaged() from None


def read_stored(header: SliceHeader) -> NDArray[Any]:
    """Read all frames of a file as stored integers [frames, rows, columns], with unused high bits.

    Raises VolumeError: `transfer-syntax` names the syntax and the package that decodes it,
    `too-large` is raised before memory is allocated, `file-changed` means that the file changed
    after its header was read, and `pixels-unreadable` is everything else.
    """
    shape = (header.frames, header.rows, header.columns)
    if math.prod(shape) * header.bits_allocated // 8 > MAX_BYTES:
        raise too_large(f"{' x '.join(map(str, shape))} pixels")
    try:
        with _quiet():
            syntax = UID(header.transfer_syntax)
            _check_decoder(syntax)
            dataset = _read(header.path, _PIXEL_TAGS)
            dataset.file_meta.TransferSyntaxUID = syntax
            if not syntax.is_encapsulated:
                _check_rest(dataset.PixelData, math.prod(shape) * header.bits_allocated // 8)
            pixels = pixel_array(
                dataset, raw=True, correct_unused_bits=False, decoding_plugin=plugin_of(syntax)
            )
        if stamp_of(header.path) != header.stamp:
            raise file_changed()
        return pixels.reshape(shape)
    except (VolumeError, MemoryError):
        raise
    except OSError as error:
        raise (unreadable(error) if error.errno else _damaged()) from None
    except Exception as error:  # each codec has its own; their texts may quote the file
        raise VolumeError(
            "pixels-unreadable",
            f"The pixels cannot be decoded ({type(error).__name__}).",
            "Copy the file again from its source.",
        ) from None


def _read(path: Path, tags: list[str], *, stop_before_pixels: bool = False) -> Dataset:
    """Read the given tags of a file; sets a transfer syntax also if the file has no preamble."""
    with HeaderFile(path) if stop_before_pixels else path.open("rb") as stream:
        whole: io.BufferedReader | Path = stream
        bare = stream.read(132)[128:] != b"DICM"
        if not bare:
            meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                check_inflated(path, stream.tell())
                whole = path  # pydicom inflates all of it at once, pixels too
        stream.seek(0)
        dataset = dcmread(
            whole,
            specific_tags=_numbers_of(tuple(tags)),
            stop_before_pixels=stop_before_pixels,
            force=bare,
        )
    _correct_character_set(dataset)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        number = "" if implicit else ".1" if little else ".2"
        dataset.file_meta.TransferSyntaxUID = UID(f"1.2.840.10008.1.2{number}")
    return dataset


def _correct_character_set(dataset: Dataset) -> None:
    """Set the character set that the text is in, before any of it is decoded."""
    named = dataset.get("SpecificCharacterSet") or ""
    raw = (dataset.get_item(keyword) for keyword in _CHECKED_TEXTS if keyword in dataset)
    text = b"".join(each.value for each in raw if isinstance(each.value, bytes))
    if found := true_character_set([named] if isinstance(named, str) else list(named), text):
        dataset.SpecificCharacterSet = found
        python_names = ["utf_8" if found == UTF_8 else "latin_1"]
        implicit, little = dataset.original_encoding
        dataset.set_original_encoding(implicit, little, python_names)


@lru_cache
def _numbers_of(tags: tuple[str, ...]) -> list[BaseTag]:
    """Return the tags of keywords: looking them up takes longer than reading them."""
    return [Tag(tag) for tag in tags]


def _check_rest(pixels: bytes, expected: int) -> None:
    """Raise VolumeError if more than padding follows the last pixel."""
    if len(pixels) > expected and pixels[expected:].strip(b"\0"):
        raise VolumeError(
            "pixels-unreadable",
            f"The file has {len(pixels):,} bytes of pixels, but the matrix in its header needs "
            f"only {expected:,}: part of the image would be cut off.",
            "Export the series again from the archive.",
        )


def _check_decoder(syntax: UID) -> None:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        remedy = "Convert"
    else:
        if decoder.is_available:
            return
        remedy = f"Install a decoder ({'; '.join(decoder.missing_dependencies)}), or convert"
    name = "a private syntax" if syntax.is_private else syntax.name
    name = f"{name} ({syntax})" if syntax.is_valid else "an invalid UID"
    raise VolumeError(
        "transfer-syntax",
        f"The pixels are stored as {name}, which no installed package decodes.",
        f"{remedy} the files to Explicit VR Little Endian.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress pydicom's warnings, which may quote patient data on the terminal."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def _damaged() -> VolumeError:
    return VolumeError(
        "header-damaged",
        "The DICOM header is damaged or truncated.",
        "Copy the file again from its source.",
    )
