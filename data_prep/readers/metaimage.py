"""Reads headers of MetaImage files (.mha), ITK's own format, which SynthRAD uses.

The parser is strict and in Python, so that no C parser processes an untrusted file.
"""

from io import BufferedIOBase

import numpy as np

from data_prep.readers.header_checks import (
    bad_header,
    check_affine,
    check_number,
    check_shape,
    detached,
    no_affine,
    numbers,
    sizes,
)
from data_prep.readers.raw_voxels import FileHeader
from mrct.errors import VolumeError
from mrct.imaging.volume import LPS_TO_RAS, Affine

METAIMAGE_SUFFIXES = (".mha",)
_METAIMAGE = "MetaImage"
_MAX_LINE_BYTES = 4096
_MAX_LINES = 1000
_MET_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MET_LONG is left out: writers disagree on its size."""
_SYNONYMS = {
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "Origin": "Offset",
    "Position": "Offset",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_PLAIN = {
    "ObjectType": "Image",
    "BinaryData": "True",
    "HeaderSize": "0",
    "DistanceUnits": "mm",
    "ElementToIntensityFunctionSlope": "1",
    "ElementToIntensityFunctionOffset": "0",
}
"""Required values; with any other the voxels, or their offset in the file, would be misread."""
_WRITTEN_LOSS = 1e-3


def read_metaimage_header(stream: BufferedIOBase, assume_affine: bool) -> FileHeader:
    """Read the header; `stream` is then positioned at the voxels.

    With `assume_affine` the axes of a file without TransformMatrix are LPS, as in ITK.
    """
    fields = _fields(stream)
    # -1: the voxels are the end of the file. Their size is compared with the rest of the file.
    if fields.get("HeaderSize") == "-1" and not _flag(fields, "CompressedData"):
        del fields["HeaderSize"]
    if fields["ElementDataFile"] != "LOCAL":
        raise detached("The voxels lie in other files (ElementDataFile)")
    for name, plain in _PLAIN.items():
        if fields.get(name, plain) not in (plain, f"{plain}.0"):
            raise _bad(f"{name} is not {plain}")
    check_number(
        "vectors (more than one component per voxel)",
        fields.get("ElementNumberOfChannels", "1") == "1",
    )
    check_number("of an unknown type (ElementType)", fields.get("ElementType") in _MET_TYPES)
    shape = sizes(fields.get("DimSize", ""), "DimSize", _METAIMAGE)
    rank = len(shape)
    if fields.get("NDims") != str(rank):
        raise _bad("DimSize and NDims are inconsistent")
    order = ">" if _flag(fields, "BinaryDataByteOrderMSB") else "<"
    return FileHeader(
        format_name=_METAIMAGE,
        shape=check_shape(shape),
        affine=_affine(fields, rank, assume_affine),
        dtype=np.dtype(order + _MET_TYPES[fields["ElementType"]]),
        is_affine_assumed=not _is_placed(fields),
        packing="zlib" if _flag(fields, "CompressedData") else "raw",
    )


def _fields(stream: BufferedIOBase) -> dict[str, str]:
    """Read the header's lines `Key = Value`; `stream` is then positioned at the voxels."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = stream.readline(_MAX_LINE_BYTES)
        name, equals, value = line.decode("latin-1").partition("=")
        name = _SYNONYMS.get(name.strip(), name.strip())
        if not equals or not line.endswith(b"\n") or name in fields or len(fields) > _MAX_LINES:
            raise _bad("it lacks ElementDataFile, repeats a line, or has an invalid line")
        fields[name] = value.strip()
    return fields


def _is_placed(fields: dict[str, str]) -> bool:
    return "TransformMatrix" in fields and "Offset" in fields


def _affine(fields: dict[str, str], rank: int, assume_affine: bool) -> Affine:
    """Return the affine [4, 4] to RAS mm. TransformMatrix lists each voxel axis in LPS."""
    spacing = np.array(_numbers(fields, "ElementSpacing"))
    if len(spacing) != rank or not (spacing[:3] > 0).all():
        raise _bad("ElementSpacing is not above 0 on each axis")
    if _is_placed(fields):
        axes, origin = _numbers(fields, "TransformMatrix"), _numbers(fields, "Offset")
    elif assume_affine:
        axes, origin = np.eye(rank).ravel().tolist(), [0.0] * rank
    else:
        raise no_affine("TransformMatrix or Offset is missing")
    if len(axes) != rank * rank or len(origin) != rank:
        raise _bad("TransformMatrix, Offset and NDims are inconsistent")
    direction = np.array(axes).reshape(rank, rank)[:3, :3].T
    if np.abs(np.linalg.norm(direction, axis=0) - 1).max() > _WRITTEN_LOSS:
        raise _bad("TransformMatrix has axes that are not unit vectors")
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing[:3]
    affine[:3, 3] = origin[:3]
    affine = LPS_TO_RAS @ affine
    check_affine(affine)
    return affine


def _numbers(fields: dict[str, str], name: str) -> list[float]:
    return numbers(fields.get(name, ""), name, _METAIMAGE)


def _flag(fields: dict[str, str], name: str) -> bool:
    value = fields.get(name, "False").lower()
    if value not in ("true", "false"):
        raise _bad(f"{name} is neither True nor False")
    return value == "true"


def _bad(found: str) -> VolumeError:
    return bad_header(_METAIMAGE, found)
