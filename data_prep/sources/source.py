"""One input volume: where it lies, how it is called, how it is read. It knows no store."""

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
from data_prep.sources.sandbox import Reading, read_apart
from mrct.errors import VolumeError
from mrct.imaging.volume import Grid, Modality, Note, Volume, silent
from mrct.storage.local_path import sha256_of

_READ_TIMEOUT_S = 120.0
_SLOWEST_BYTES_PER_S = 1 << 20
"""Of reading and decoding together, per byte on disk."""


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
    """How people call the subject: for the id map only."""
    mask: Path | None = field(default=None, repr=False)
    """A body mask that came with the volume, in the same frame."""
    series: Series | None = field(default=None, repr=False)
    """The series where it is DICOM."""
    number: int = 0
    """Its place in the list of inputs, from 1: how messages name it."""

    @property
    def name(self) -> str:
        """The volume's group inside the store."""
        return f"{self.modality}/{self.pseudonym}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All its files, the mask's too: another mask makes another volume."""
        own = (self.path,) if self.series is None else self.series.paths
        return (*own, self.mask) if self.mask else own

    def read(self, leniency: Leniency, note: Note) -> Volume:
        """The volume, decoded in a process apart; raises VolumeError for whatever cannot be used.

        `note` hears what was put right or could not be checked, without patient text.
        """
        read: Callable[..., Volume]
        if self.series is None:
            read = partial(
                read_file,
                self.path,
                modality=self.modality,
                pseudonym=self.pseudonym,
                assume_affine=leniency.assume_affine,
            )
            claim = partial(decoded_bytes, self.path)
        else:
            read = partial(
                read_series,
                self.series,
                pseudonym=self.pseudonym,
                resample_tilt=leniency.resample_tilt,
                resample_irregular=leniency.resample_irregular,
                assume_hu=leniency.assume_hu,
            )
            claim = partial(claimed_bytes, self.series)
        reading = Reading(
            read=read,
            decoded_bytes=claim,
            modality=self.modality,
            pseudonym=self.pseudonym,
            timeout_s=_READ_TIMEOUT_S + self.size_bytes() / _SLOWEST_BYTES_PER_S,
        )
        return read_with_retry(partial(read_apart, reading, note))

    def preview(self, leniency: Leniency) -> Grid:
        """The grid that headers claim; raises VolumeError for what they alone can refuse."""
        if self.series is None:
            return read_with_retry(
                partial(read_grid, self.path, assume_affine=leniency.assume_affine)
            )
        tilt, irregular = leniency.resample_tilt, leniency.resample_irregular
        if error := refusal(self.series, resample_tilt=tilt, resample_irregular=irregular):
            raise error
        return grid_of(self.series)

    def read_mask(self, leniency: Leniency) -> Volume | None:
        """The body mask that came with the volume: above 0 is body. None where there is none."""
        if self.mask is None:
            return None
        alone = replace(self, path=self.mask, mask=None, series=None, modality="mri")
        try:
            return alone.read(leniency, silent)
        except VolumeError as error:
            raise VolumeError(
                "mask-unusable", f"Its body mask cannot be used: {error.reason}", error.remedy
            ) from error

    def sha256(self) -> str:
        """Of the file, or of all its files together whatever they are called.

        Raises VolumeError where they cannot be read.
        """
        digests = sorted(read_with_retry(partial(sha256_of, path)) for path in self.paths)
        is_one_file = self.series is None and self.mask is None
        return digests[0] if is_one_file else _joined(digests)

    def stamps(self) -> tuple[Stamp, ...]:
        """The state of its files; raises VolumeError where one is not there or is no file."""
        return tuple(read_with_retry(partial(stamp_of, path)) for path in self.paths)

    def size_bytes(self) -> int:
        """On disk, of what can be found."""
        return sum(path.stat().st_size for path in self.paths if path.is_file())


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
