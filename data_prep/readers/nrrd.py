"""Reads headers of NRRD files (.nrrd), as written by 3D Slicer.

The fields follow teem's definition of the file format, version 5.
"""

import re
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
from data_prep.readers.raw_voxels import FileHeader, Packing
from mrct.errors import VolumeError
from mrct.imaging.volume import LPS_TO_RAS, Affine

NRRD_SUFFIXES = (".nrrd",)
_NRRD = "NRRD"
_NRRD_LINE_BYTES = 1 << 16
_NRRD_MAX_LINES = 10_000
_TYPES_OF_DTYPE = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPE_OF_TYPE = {name: dtype for dtype, names in _TYPES_OF_DTYPE.items() for name in names}
_PACKINGS: dict[str, Packing] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
}
_TO_RAS = {
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
_DATA_FILE_KEYS = ("data file", "datafile")
_SKIPS = ("line skip", "lineskip", "byte skip", "byteskip")
_VECTOR = re.compile(r"none|\([^()]*\)")


def read_nrrd_header(stream: BufferedIOBase, assume_affine: bool) -> FileHeader:
    """Read the header; `stream` is then positioned at the voxels.

    With `assume_affine` a file without a named space is in LPS, as in ITK.
    """
    fields = _fields(stream)
    if any(name in fields for name in _DATA_FILE_KEYS):
        raise detached("The voxels lie in other files (data file)")
    if any(fields.get(name, "0") != "0" for name in _SKIPS):
        raise _bad("it skips lines or bytes before the voxels")
    check_number("of an unknown type", fields.get("type", "") in _DTYPE_OF_TYPE)
    dtype = np.dtype(_DTYPE_OF_TYPE[fields["type"]])
    if dtype.itemsize > 1:
        if fields.get("endian") not in ("little", "big"):
            raise _bad("endian is neither little nor big")
        dtype = dtype.newbyteorder("<" if fields["endian"] == "little" else ">")
    packing = _PACKINGS.get(fields.get("encoding", "").lower())
    if packing is None:
        raise _bad("encoding is none of raw, gzip and bzip2")
    counts = sizes(fields.get("sizes", ""), "sizes", _NRRD)
    axes = _VECTOR.findall(fields.get("space directions", "none " * len(counts)))
    if fields.get("dimension") != str(len(counts)) or len(axes) != len(counts):
        raise _bad("dimension, sizes and space directions are inconsistent")
    placed = [axis for axis, vector in enumerate(axes) if vector != "none"]
    if len(placed) != 3:
        check_shape(counts)  # raises the more specific error for a plane or a series
        raise no_affine("The field `space directions` does not give three axes")
    rest = [size for axis, size in enumerate(counts) if axis not in placed]
    check_number("vectors (more than one component per voxel)", placed[0] == 0 or set(rest) == {1})
    shape = check_shape([counts[axis] for axis in placed] + rest)
    affine = _affine(fields, [axes[axis] for axis in placed], assume_affine)
    return FileHeader(
        format_name=_NRRD,
        shape=shape,
        affine=affine,
        dtype=dtype,
        packing=packing,
        is_affine_assumed="space" not in fields,
    )


def _fields(stream: BufferedIOBase) -> dict[str, str]:
    """Read the header's lines `field: value`; `stream` is then positioned at the voxels.

    Comments and `key:=value` pairs are ignored.
    """
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n", stream.readline(_NRRD_LINE_BYTES)):
        raise _bad("it does not begin with an NRRD magic")
    fields: dict[str, str] = {}
    for _ in range(_NRRD_MAX_LINES):
        line = stream.readline(_NRRD_LINE_BYTES)
        if line in (b"\n", b"\r\n"):
            return fields
        text = line.decode("latin-1").rstrip("\r\n")
        field, colon, value = text.partition(": ")
        if not line.endswith(b"\n"):
            break
        if text.startswith("#") or re.match("[^:]*:=", text):
            continue
        if not colon or field.lower() in fields:
            break
        fields[field.lower()] = value.strip()
    raise _bad("it lacks the final empty line, repeats a field, or has an invalid line")


def _affine(fields: dict[str, str], vectors: list[str], assume_affine: bool) -> Affine:
    space = fields.get("space", "").lower()
    if space not in _TO_RAS and not (assume_affine and not space):
        raise no_affine(
            "The field `space` is none of left-posterior-superior, right-anterior-superior and "
            "left-anterior-superior"
        )
    if set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm"}:
        raise _bad("space units is not mm")
    affine = np.eye(4)
    for axis, vector in enumerate(vectors):
        affine[:3, axis] = _vector(vector, "space directions")
    affine[:3, 3] = _vector(fields.get("space origin", ""), "space origin")
    affine = _TO_RAS.get(space, LPS_TO_RAS) @ affine
    check_affine(affine)
    return affine


def _vector(text: str, name: str) -> list[float]:
    found = numbers(text.strip("() ").replace(",", " "), name, _NRRD)
    if len(found) != 3:
        raise _bad(f"{name} is not a vector of 3 numbers")
    return found


def _bad(found: str) -> VolumeError:
    return bad_header(_NRRD, found)
