"""Reads the voxels after a file's header: exactly as many bytes as it claims, checksum verified.

The claimed size is compared with the size on disk before memory is allocated.
"""

import bz2
import math
import zlib
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, Literal

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from data_prep.readers.header_checks import MAX_BYTES, bad_header, damaged_stream
from mrct.imaging.volume import Affine

Compression = Literal["zlib", "gzip"]
MAX_RATIO = 1032
"""zlib's technical note: no deflate stream expands further."""
_WINDOW_BITS: dict[Compression, int] = {"zlib": zlib.MAX_WBITS, "gzip": 16 + zlib.MAX_WBITS}

Packing = Literal["raw", "bzip2"] | Compression


def inflate(packed: bytes, compression: Compression, *, most_bytes: int) -> bytes:
    """Decompress a stream, or its first `most_bytes + 1` bytes if it has more.

    A gzip stream may have several members, one after the other. Raises VolumeError
    (`gzip-damaged`, `zlib-damaged`) if it is truncated, followed by other data, or has a wrong
    checksum.
    """
    parts, left = [], most_bytes + 1
    while True:
        stream = isal_zlib.decompressobj(_WINDOW_BITS[compression])
        try:
            parts.append(stream.decompress(packed, left))
        except isal_zlib.error as error:  # type: ignore[misc]
            raise damaged_stream(compression, error) from error
        left -= len(parts[-1])
        if left <= 0:
            break
        # Less than the limit came out, so all input was read; at its end the checksum was verified.
        if not stream.eof:
            raise damaged_stream(compression, "it is truncated")
        packed = stream.unused_data
        if not packed:
            break
        if compression == "zlib":
            raise damaged_stream(compression, "other data follows it")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def inflate_bzip2(packed: bytes, *, most_bytes: int) -> bytes:
    """Decompress a bzip2 stream, or its first `most_bytes + 1` bytes if it has more.

    Every block has a checksum. A file may have several streams. Raises VolumeError
    (`bzip2-damaged`).
    """
    parts, left = [], most_bytes + 1
    while packed and left > 0:
        stream = bz2.BZ2Decompressor()
        while left > 0 and not stream.eof:
            try:
                parts.append(stream.decompress(packed, left))
            except OSError as error:
                raise damaged_stream("bzip2", error) from error
            packed, left = b"", left - len(parts[-1])
            if not stream.eof and stream.needs_input and left > 0:
                raise damaged_stream("bzip2", "it is truncated")
        packed = stream.unused_data if stream.eof else b""
    return b"".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileHeader:
    """The header of a file with one volume."""

    format_name: str
    shape: tuple[int, int, int]
    """(x, y, z): x runs fastest."""
    affine: Affine
    dtype: np.dtype[Any]
    packing: Packing
    is_affine_assumed: bool = False
    """Whether the header lacks the orientation, so that the format's default was assumed."""


def read_voxels(stream: BufferedIOBase, header: FileHeader) -> NDArray[np.float32]:
    """Read the rest of `stream` as voxels [z, y, x].

    Raises VolumeError: `header-damaged` if the claimed size differs from the file's,
    `zlib-damaged`, `gzip-damaged` or `bzip2-damaged` if the stream or its checksum is damaged.
    """
    claimed = check_size(stream, header)
    content = _read_bytes(stream, claimed, header.packing)
    if len(content) != claimed:
        found = "more" if len(content) > claimed else f"{len(content):,}"
        raise bad_header(
            header.format_name, f"it claims {claimed:,} bytes, but the stream has {found}"
        )
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as that
        return np.frombuffer(content, header.dtype).reshape(header.shape[::-1]).astype(np.float32)


def check_size(stream: BufferedIOBase, header: FileHeader) -> int:
    """Return the size of the voxels in bytes by the header, which the rest of `stream` can have.

    Raises VolumeError (`header-damaged`) if it cannot.
    """
    claimed = math.prod(header.shape) * header.dtype.itemsize
    here = stream.tell()
    left = stream.seek(0, 2) - here
    stream.seek(here)
    if header.packing == "raw":
        if claimed != left or claimed > MAX_BYTES:
            found = f"it claims {claimed:,} bytes, but the file has {left:,}"
            raise bad_header(header.format_name, found)
    elif claimed > min(MAX_BYTES, left * MAX_RATIO):
        raise bad_header(
            header.format_name,
            f"it claims {claimed:,} bytes, but {left:,} bytes cannot decompress to as many",
        )
    return claimed


def _read_bytes(stream: BufferedIOBase, claimed: int, packing: Packing) -> bytes:
    """Read the rest of `stream`, decompressed; at most one byte more than claimed."""
    packed = stream.read()
    if packing == "raw":
        return packed
    if packing == "bzip2":
        return inflate_bzip2(packed, most_bytes=claimed)
    return inflate(packed, packing, most_bytes=claimed)
