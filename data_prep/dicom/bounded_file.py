"""A DICOM file that limits how much of its header is read, whatever lengths the file claims.

Headers are read in the worker itself, so an untrusted file must not exhaust its memory.
"""

import io
import zlib
from pathlib import Path

from mrct.errors import VolumeError

_INFLATE_BLOCK = 1 << 14
_MOST_INFLATED_BYTES = 256 << 20
"""Limit for a deflated data set: pydicom inflates it whole, pixels included, even to read tags."""
_MOST_HEADER_BYTES = 16 << 20
"""Limit for the tags that are read. An enhanced object has some KiB per frame, so thousands fit."""
_MOST_ITEMS = 200_000
"""Limit for the items of all sequences of a header; each becomes an object of some KiB."""


class HeaderFile(io.BufferedReader):
    """A file that raises VolumeError once more is read than a header can have."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._num_bytes = self._num_items = 0

    def read(self, size: int | None = -1) -> bytes:
        """Read as BufferedReader does; raises VolumeError above the limits."""
        most = _MOST_HEADER_BYTES + 1  # one more than allowed shows that the limit is exceeded
        content = super().read(most if size is None or size < 0 else min(size, most))
        self._num_bytes += len(content)
        self._num_items += _items_in(content)
        if self._num_bytes > _MOST_HEADER_BYTES or self._num_items > _MOST_ITEMS:
            raise too_large(f"{self._num_bytes:,} bytes, {self._num_items:,} items of header")
        return content


def _items_in(content: bytes) -> int:
    """Return how many sequence items the content can have, in either byte order."""
    return content.count(b"\xfe\xff\x00\xe0") + content.count(b"\xff\xfe\xe0\x00")


def check_inflated(path: Path, start: int) -> None:
    """Raise VolumeError if the deflated data set that begins at byte `start` is too large."""
    inflate, num_bytes, num_items = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
    with path.open("rb") as stream:
        stream.seek(start)
        while block := stream.read(_INFLATE_BLOCK):
            content = inflate.decompress(block)
            num_bytes += len(content)
            num_items += _items_in(content)
            if num_bytes > _MOST_INFLATED_BYTES or num_items > _MOST_ITEMS:
                raise too_large(f"it inflates to {num_bytes:,} bytes, {num_items:,} items or more")


def too_large(found: str) -> VolumeError:
    """Return the error for a file that would take more memory than allowed."""
    return VolumeError(
        "too-large",
        f"The file claims more data than a head volume can have: {found}.",
        "Leave the file out; check where it comes from.",
    )
