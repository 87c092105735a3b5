"""The voxels' bytes behind a file's header: exactly as many as it claims, to their checksum.

It knows no format's header. A claim is compared with the bytes on disk before memory is taken.
"""

import math
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.readers.header_checks import MAX_BYTES, bad_header
from data_prep.readers.inflate import MAX_RATIO, Compression, inflate
from mrct.imaging.volume import Affine

Packing = Literal["raw"] | Compression


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
