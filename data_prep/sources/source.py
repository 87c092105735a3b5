"""One input volume: its files, names and reading."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from data_prep.datasets.split import Split
from data_prep.dicom.reader import claimed_bytes, read_series
from data_prep.dicom.series import Series, grid_of, refusal
from data_prep.readers.file_state import Stamp, read_with_retry, stamp_of
from data_prep.readers.formats import decoded_bytes, read_file, read_grid
from data_prep.readers.tolerances import Leniency
from data_prep.sources.sandbox import ReadRequest, read_in_sandbox
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid, Note, Volume, ignore_note
from mrct.storage.local_path import sha256_of

_READ_TIMEOUT_S = 120.0
_SLOWEST_BYTES_PER_S = 1 << 20
"""Lowest assumed rate of reading and decoding together, in bytes on disk per second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file of one volume or a DICOM series."""

    path: Path
    """The file, or the folder of the series' first file."""
    modality: Modality
    pseudonym: str
    subject: str
    """The subject's pseudonym."""
    split: Split | None
    pair: str | None
    """Equal for an aligned MRI and CT of one subject."""
    label: str = field(default="", repr=False)
    """Name of the subject in the data set, used only for the id map."""
    mask: Path | None = field(default=None, repr=False)
    """A mask given with the volume, in the same frame, outside which no score counts."""
    series: Series | None = field(default=None, repr=False)
    """The series, for DICOM."""
    kind: str = "unknown"
    """What kind of image it is, such as T1w."""
    leniency: Leniency = field(default_factory=Leniency)
    """What is accepted when it is read, although refused by default."""
    number: int = 0
    """Number in the list of inputs, from 1, used in messages."""

    @property
    def name(self) -> str:
        """The volume's group inside the store."""
        return f"{self.modality}/{self.pseudonym}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, including the mask: another mask gives another volume."""
        own = (self.path,) if self.series is None else self.series.paths
        return (*own, self.mask) if self.mask else own

    def read(self, note: Note) -> Volume:
        """Decode the volume in a separate process; raises VolumeError if it cannot be used.

        `note` is called with each correction and with what could not be checked, without patient
        text.
        """
        read: Callable[..., Volume]
        if self.series is None:
            read = partial(
                read_file,
                self.path,
                modality=self.modality,
                pseudonym=self.pseudonym,
                assume_affine=self.leniency.assume_affine,
            )
            claim = partial(decoded_bytes, self.path)
        else:
            read = partial(
                read_series,
                self.series,
                pseudonym=self.pseudonym,
                leniency=self.leniency,
            )
            claim = partial(claimed_bytes, self.series)
        reading = ReadRequest(
            read=read,
            decoded_bytes=claim,
            modality=self.modality,
            pseudonym=self.pseudonym,
            timeout_s=_READ_TIMEOUT_S + self.size_bytes() / _SLOWEST_BYTES_PER_S,
        )
        return read_with_retry(partial(read_in_sandbox, reading, note))

    def preview(self) -> Grid:
        """Return the grid according to the headers; raises VolumeError if they are unusable."""
        if self.series is None:
            assume_affine = self.leniency.assume_affine
            return read_with_retry(partial(read_grid, self.path, assume_affine=assume_affine))
        if error := refusal(self.series, self.leniency):
            raise error
        return grid_of(self.series)

    def read_mask(self) -> Volume | None:
        """Read the mask given with the volume (above 0 is inside); None without one."""
        if self.mask is None:
            return None
        alone = replace(self, path=self.mask, mask=None, series=None, modality="mri")
        try:
            return alone.read(ignore_note)
        except VolumeError as error:
            raise VolumeError(
                "mask-unusable", f"Its mask cannot be used: {error.reason}", error.remedy
            ) from error

    def sha256(self) -> str:
        """Return the hash of the file, or of all files together, independent of their names.

        Raises VolumeError if they cannot be read.
        """
        digests = sorted(read_with_retry(partial(sha256_of, path)) for path in self.paths)
        if self.series and self.series.split_by:  # volumes of one file have hashes of their own
            digests.append(repr(self.series.split_by))
        is_one_file = self.series is None and self.mask is None
        return digests[0] if is_one_file else _joined(digests)

    def stamps(self) -> tuple[Stamp, ...]:
        """Return the stamps of all files; raises VolumeError if one is not a readable file."""
        return tuple(read_with_retry(partial(stamp_of, path)) for path in self.paths)

    def size_bytes(self) -> int:
        """Return the size on disk of all files that exist."""
        return sum(path.stat().st_size for path in self.paths if path.is_file())


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
