"""The voxels' bytes behind a file's header: exactly as many as it claims, to their checksum.

It knows no format's header. A claim is compared with the bytes on disk before memory is taken.
"""

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

Packing = Literal["raw"] | Compression


def inflate(packed: bytes, compression: Compression, *, most_bytes: int) -> bytes:
    """What a stream holds, or its first `most_bytes + 1` bytes where it holds more.

    A gzip stream may have several members, one after the other. Raises VolumeError
    (`gzip-damaged`, `zlib-damaged`) where it is cut off, followed by something else, or not what
    its checksum says.
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
        # Less came out than might have: all was read, and at the end the checksum was compared.
        if not stream.eof:
            raise damaged_stream(compression, "it ends too early")
        packed = stream.unused_data
        if not packed:
            break
        if compression == "zlib":
            raise damaged_stream(compression, "something follows it")
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileHeader:
    """What the header of a file of one volume says."""

    format_name: str
    shape: tuple[int, int, int]
    """(x, y, z): x runs fastest."""
    affine: Affine
    dtype: np.dtype[Any]
    packing: Packing
    is_affine_assumed: bool = False
    """Whether the header does not say where the axes point."""


def read_voxels(stream: BufferedIOBase, header: FileHeader) -> NDArray[np.float32]:
    """The rest of `stream` as voxels [z, y, x].

    Raises VolumeError: `header-damaged` where claim and file do not fit, `zlib-damaged` or
    `gzip-damaged` where the stream or its checksum is.
    """
    claimed = math.prod(header.shape) * header.dtype.itemsize
    content = _read_bytes(stream, claimed, header.packing, header.format_name)
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as that
        return np.frombuffer(content, header.dtype).reshape(header.shape[::-1]).astype(np.float32)


def _read_bytes(stream: BufferedIOBase, claimed: int, packing: Packing, format_name: str) -> bytes:
    """The rest of `stream`, which must unpack to `claimed` bytes and end there."""
    here = stream.tell()
    left = stream.seek(0, 2) - here
    stream.seek(here)
    if packing == "raw":
        if claimed != left or claimed > MAX_BYTES:
            raise bad_header(format_name, f"it claims {claimed:,} bytes, the file has {left:,}")
        return stream.read(claimed)
    if claimed > min(MAX_BYTES, left * MAX_RATIO):
        raise bad_header(
            format_name, f"it claims {claimed:,} bytes, {left:,} cannot be unpacked to so many"
        )
    content = inflate(stream.read(left), packing, most_bytes=claimed)
    if len(content) > claimed:
        raise bad_header(format_name, f"it claims {claimed:,} bytes, the stream holds more")
    if len(content) != claimed:
        raise bad_header(format_name, f"it claims {claimed:,} bytes, {len(content):,} came out")
    return content
