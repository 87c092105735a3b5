"""Compressed streams, whole and to their checksum. The home of isal; it knows no file format.

A stream is unpacked in one call into memory of the claimed size: reading it piece by piece, as gzip
files usually are, takes half as long again.
"""

import zlib
from typing import Literal

from isal import isal_zlib

from data_prep.readers.header_checks import damaged_stream

Compression = Literal["zlib", "gzip"]
MAX_RATIO = 1032
"""zlib's technical note: no deflate stream expands further."""
_WINDOW_BITS: dict[Compression, int] = {"zlib": zlib.MAX_WBITS, "gzip": 16 + zlib.MAX_WBITS}


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
