"""A DICOM file of which no more is read than headers have, whatever its lengths claim.

Headers are read in the worker itself, so that a stranger's file must not cost it its memory. It
knows nothing of tags.
"""

import io
import zlib
from pathlib import Path

from mrct.errors import VolumeError

_INFLATE_BLOCK = 1 << 14
_MOST_INFLATED_BYTES = 256 << 20
"""pydicom inflates a deflated data set whole, pixels and all, even where only tags are wanted."""
_MOST_HEADER_BYTES = 16 << 20
"""Of the tags that are read; some KiB a frame in an enhanced object, so thousands of frames fit."""
_MOST_ITEMS = 200_000
"""Of all sequences of a header; each is an object of some KiB."""


class HeaderFile(io.BufferedReader):
    """A file of which no more is read than headers have, whatever its lengths claim."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._num_bytes = self._num_items = 0

    def read(self, size: int | None = -1) -> bytes:
        """As BufferedReader's; raises VolumeError where it becomes too much."""
        most = _MOST_HEADER_BYTES + 1  # enough to know that it is too much
        content = super().read(most if size is None or size < 0 else min(size, most))
        self._num_bytes += len(content)
        self._num_items += _items_in(content)
        if self._num_bytes > _MOST_HEADER_BYTES or self._num_items > _MOST_ITEMS:
            raise too_large(f"{self._num_bytes:,} bytes, {self._num_items:,} items of header")
        return content


def _items_in(content: bytes) -> int:
    """How many items of sequences there can be, in either byte order."""
    return content.count(b"\xfe\xff\x00\xe0") + content.count(b"\xff\xfe\xe0\x00")


def check_inflated(path: Path, start: int) -> None:
    """Raise VolumeError where the deflated data set that begins at byte `start` is too large."""
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
    """The file would take more memory than it may."""
    return VolumeError(
        "too-large",
        f"The file claims more than a head volume can be: {found}.",
        "Leave the file out; look at where it comes from.",
    )
