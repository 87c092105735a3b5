"""The index: facts of all volumes in columns, so that a store of 100,000 volumes opens quickly.

The index is a safetensors file. Its header contains the SHA-256 of each column. A column is read,
and verified, on first use. It is then kept in an unnamed temporary file from which rows are read
as needed: memory does not hold the facts of all volumes, and later changes to the index have no
effect. `history.py` rebuilds it from the commit records; it contains nothing beyond them.
"""

import bisect
import hashlib
import os
import tempfile
import weakref
from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import SPLITS, Split
from data_prep.store.commits import digest, unseal
from data_prep.store.stored_volume import StoredVolume
from mrct.errors import STORAGE_FULL_ERRNOS, StorageFullError, StoreError
from mrct.imaging.geometry import SLICE_STEPS
from mrct.imaging.modality import MODALITIES, Modality
from mrct.storage.paths import StoragePath
from mrct.storage.safetensors_header import read_header

INDEX = "index.safetensors"
INDEX_SCHEMA = 3
_READ_AT_ONCE = 1 << 24
TEXTS = ("name", "kind", "subject", "link")
"""Columns of texts, padded with zeros to the longest."""
_COLUMN_DTYPES = {"U8": "u1", "U16": "<u2", "I32": "<i4", "I64": "<i8", "F64": "<f8"}
IN_STEPS = ("body_fraction", "deviation")
PER_SLICE = (*IN_STEPS, "outline")
"""Columns with a row per slice; those before are in SLICE_STEPS."""


def contents_hash(header: dict[str, Any]) -> str:
    """Return the hash of an index by the header that is sealed in it."""
    return digest(header)[:16]


def _is_consistent(facts: dict[str, Any]) -> bool:
    """Return whether a column has as many bytes as its shape and dtype need."""
    start, stop = facts["data_offsets"]
    num_bytes = prod(facts["shape"]) * np.dtype(_COLUMN_DTYPES[facts["dtype"]]).itemsize
    return 0 <= start <= stop == start + num_bytes and min(facts["shape"], default=0) >= 0


class Index:
    """An index file, whose columns are read and verified on first use.

    Args:
        path: The file `index.safetensors` of a store.

    Raises:
        StoreError: The header is damaged, or of another version.
    """

    def __init__(self, path: StoragePath) -> None:
        self._path = path
        try:
            self._read = path.ranges()
            header, self._start = read_header(self._read)
            self._sealed = unseal(header.pop("__metadata__")["sealed"].encode(), path, path.parent)
            is_ours = self._sealed["schema"] == INDEX_SCHEMA and self._sealed["columns"] == header
            is_ours = is_ours and header.keys() == self._sealed["sha256_of"].keys()
            is_ours = is_ours and all(map(_is_consistent, header.values()))
        except StoreError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(f"its header cannot be read ({error})") from error
        if not is_ours:
            raise self._damaged("its header was changed, or written by another version")
        self._columns: dict[str, IO[bytes]] = {}
        """The verified columns, each in a temporary file."""

    @property
    def contents(self) -> str:
        """Hash of all columns; equal if the volumes and their splits are equal."""
        return contents_hash(self._sealed)

    @property
    def height_axis(self) -> str:
        """Hash of the axis that the volumes were placed on."""
        return str(self._sealed.get("height_axis"))

    @property
    def names(self) -> set[str]:
        """The names of all columns."""
        return {*self._sealed["columns"]}

    def __len__(self) -> int:
        return int(self._sealed["columns"]["name"]["shape"][0])

    def column(self, name: str) -> NDArray[Any]:
        """Return all rows of a column: one per volume, or one per slice for facts of slices.

        Raises:
            StoreError: The column was changed.
        """
        return self.rows(name, 0, self._sealed["columns"][name]["shape"][0])

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return the rows `start` to `stop` of a column, `stop` excluded.

        Raises:
            StoreError: The column was changed.
        """
        column = self._columns.get(name)
        if column is None:  # two threads may do this at once, each with its own file
            column = self._columns[name] = self._checked(name)
        facts = self._sealed["columns"][name]
        dtype, shape = np.dtype(_COLUMN_DTYPES[facts["dtype"]]), facts["shape"][1:]
        row_bytes = dtype.itemsize * prod(shape)
        content = os.pread(column.fileno(), (stop - start) * row_bytes, start * row_bytes)
        return np.frombuffer(content, dtype).reshape(stop - start, *shape)

    @cached_property
    def first_slices(self) -> NDArray[np.int64]:
        """[volumes + 1], the first row of each volume in the columns with a row per slice."""
        return np.concatenate([[0], self.column("shape")[:, 0].cumsum(dtype=np.int64)])

    def row_of(self, name: str) -> int | None:
        """Return the row of a volume, or None if it is not in the index."""
        row = bisect.bisect_left(range(len(self)), name, key=lambda row: self.text("name", row))
        return row if row < len(self) and self.text("name", row) == name else None

    def texts(self, column: str, start: int, stop: int) -> NDArray[Any]:
        """Return the rows `start` to `stop` of a text column as byte strings."""
        letters = self.rows(column, start, stop)  # [volumes, longest], zeros at the end
        return letters.view(f"S{letters.shape[1]}")[:, 0]

    def text(self, column: str, row: int) -> str:
        """Return one value of a text column."""
        value: bytes = self.texts(column, row, row + 1)[0]
        return value.decode()

    def _checked(self, name: str) -> IO[bytes]:
        """Copy a column to an unnamed temporary file, and verify it."""
        offsets = self._sealed["columns"][name]["data_offsets"]
        start, stop = (self._start + offset for offset in offsets)
        try:
            found = hashlib.sha256()
            copy = tempfile.TemporaryFile()  # noqa: SIM115  rows are read from it until the index goes
            weakref.finalize(self, copy.close)
            for first in range(start, stop, _READ_AT_ONCE):
                content = self._read(first, min(first + _READ_AT_ONCE, stop))
                if not content:  # a crafted header claims more than the file has
                    break
                found.update(content)
                copy.write(content)
            copy.flush()
        except OSError as error:
            if error.errno not in STORAGE_FULL_ERRNOS:
                raise
            raise StorageFullError(
                f"The temporary folder {tempfile.gettempdir()} has no space for {stop - start:,} "
                f"bytes of the index {self._path} ({error.strerror}). Free some space, or set "
                "TMPDIR to a folder on a disk."
            ) from error
        is_whole = copy.tell() == stop - start
        if not is_whole or found.hexdigest() != self._sealed["sha256_of"][name]:
            raise self._damaged(f"its column {name} was changed after it was written")
        return copy

    def _damaged(self, found: str) -> StoreError:
        return StoreError(
            f"The index {self._path} is damaged: {found}. "
            f"Run `python -m data_prep check {self._path.parent} --repair` to rebuild it from the "
            "commit records."
        )


class Volumes(Sequence[StoredVolume]):
    """A sequence of volumes of an index; each is assembled on access.

    Args:
        index: Index of the store.
        rows: Rows of the volumes in the index; None stands for all, sorted by name.
    """

    def __init__(self, index: Index, rows: NDArray[np.int64] | None = None) -> None:
        self._index = index
        self._rows = np.arange(len(index)) if rows is None else rows

    def select(self, modality: Modality, split: Split) -> "Volumes":
        """Return the volumes of one domain and split."""
        wanted = self.column("modality") == MODALITIES.index(modality)
        wanted &= self.column("split") == SPLITS.index(split)
        return self._of(self._rows[wanted])

    def named(self, name: str) -> StoredVolume | None:
        """Return the volume of this name, or None."""
        row = self._index.row_of(name)
        return None if row is None else self._volume(row)

    def column(self, name: str) -> NDArray[Any]:
        """Return one fact of all volumes, [volumes, ...].

        Args:
            name: Fact of volumes in numbers, such as `shape`, `window`, `bytes`, or `split` and
                `modality` (indices in SPLITS and MODALITIES).
        """
        assert name not in PER_SLICE
        return self._index.column(name)[self._rows]

    def texts(self, name: str) -> NDArray[Any]:
        """Return `name`, `kind`, `subject` or `link` of all volumes as bytes; b"" is no link."""
        return self._index.texts(name, 0, len(self._index))[self._rows]

    @property
    def depths(self) -> NDArray[np.int64]:
        """[volumes], the number of slices of each."""
        first = self._index.first_slices
        return first[self._rows + 1] - first[self._rows]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all facts by name, [volumes, ...] or [sum of `depths`]; texts as bytes."""
        depth, first = self.depths, self._index.first_slices[self._rows]
        slices = np.repeat(first - (depth.cumsum() - depth), depth) + np.arange(depth.sum())
        facts = {name: self._index.column(name)[slices] for name in PER_SLICE}
        facts |= {name: self.texts(name) for name in TEXTS}
        return facts | {name: self.column(name) for name in self._index.names - facts.keys()}

    def of_slices(self, name: str) -> NDArray[np.float32]:
        """Return one fact of every slice of all volumes, concatenated, [sum of `depths`].

        Args:
            name: `body_fraction` or `deviation`.
        """
        if not len(self):
            return np.empty(0, np.float32)
        depth, first = self.depths, self._index.first_slices[self._rows]
        start = int(first.min())
        steps = self._index.rows(name, start, int((first + depth).max()))
        rows = np.repeat(first - start - (depth.cumsum() - depth), depth) + np.arange(depth.sum())
        return np.asarray(steps[rows] / np.float32(SLICE_STEPS), np.float32)

    def linked_first(self) -> "Volumes":
        """Return the same volumes, those with a linked volume first."""
        alone = self.texts("link") == b""
        return self._of(self._rows[np.argsort(alone, kind="stable")])

    def where(self, wanted: NDArray[np.bool_]) -> "Volumes":
        """Return the volumes for which `wanted`, [volumes], is true."""
        return self._of(self._rows[wanted])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int) -> StoredVolume: ...
    @overload
    def __getitem__(self, key: slice) -> "Volumes": ...
    def __getitem__(self, key: int | slice) -> "StoredVolume | Volumes":
        if isinstance(key, slice):
            return self._of(self._rows[key])
        return self._volume(int(self._rows[key]))

    def _of(self, rows: NDArray[np.int64]) -> "Volumes":
        return Volumes(self._index, rows)

    def _volume(self, row: int) -> StoredVolume:
        index = self._index
        start, stop = index.first_slices[row : row + 2].tolist()

        def fact(name: str) -> Any:
            return index.rows(name, row, row + 1)[0]

        def of_slices(name: str) -> NDArray[np.float64]:
            return index.rows(name, start, stop) / SLICE_STEPS

        return StoredVolume(
            name=index.text("name", row),
            modality=MODALITIES[fact("modality")],
            kind=index.text("kind", row),
            subject=index.text("subject", row),
            split=SPLITS[fact("split")],
            link=index.text("link", row) or None,
            shape=tuple(fact("shape").tolist()),
            affine=fact("affine"),
            window=tuple(fact("window").tolist()),
            scale=float(fact("scale")),
            offset=float(fact("offset")),
            body_fraction=of_slices("body_fraction"),
            outline=index.rows("outline", start, stop).astype(np.int64),
            lowest=float(fact("lowest")),
            highest=float(fact("highest")),
            deviation=of_slices("deviation"),
            source_shape=tuple(fact("source_shape").tolist()),
            source_affine=fact("source_affine"),
        )
