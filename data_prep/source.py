"""One input volume: where it lies, how it is called, how it is read. It knows no store."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.nifti import read_nifti
from data_prep.series import Series
from data_prep.series_volume import read_series
from data_prep.split import Split
from data_prep.store import sha256_of
from data_prep.volume import Modality, Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class Leniency:
    """What a user lets pass that is refused by default."""

    resample_tilt: bool = False
    """Straighten a DICOM stack whose slices are tilted against their normal (gantry tilt)."""
    resample_irregular: bool = False
    """Interpolate a DICOM stack of uneven spacing to its median gap."""
    assume_hu: bool = False
    """Take a DICOM CT without any rescale as HU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A NIfTI file or a DICOM series."""

    path: Path
    """The file, or the folder of the series' first file."""
    modality: Modality
    pseudonym: str
    subject: str
    """The subject's pseudonym."""
    split: Split | None
    pair: str | None
    """Equal for an aligned MRI and CT of one subject."""
    series: Series | None = field(default=None, repr=False)
    """The series where it is DICOM."""
    number: int = 0
    """Its place in the list of inputs, from 1: how messages name it."""

    @property
    def name(self) -> str:
        """The volume's group inside the store."""
        return f"{self.modality}/{self.pseudonym}"

    def read(self, leniency: Leniency, note: Callable[[str], None]) -> Volume:
        """The volume; raises VolumeError for whatever cannot be used.

        `note` hears what was put right or could not be checked, without patient text.
        """
        if self.series is None:
            return read_nifti(self.path, modality=self.modality, pseudonym=self.pseudonym)
        return read_series(
            self.series,
            pseudonym=self.pseudonym,
            resample_tilt=leniency.resample_tilt,
            resample_irregular=leniency.resample_irregular,
            assume_hu=leniency.assume_hu,
            note=note,
        )

    def sha256(self) -> str:
        """Of the file, or of the series' files whatever they are called; empty if unreadable."""
        paths = [self.path] if self.series is None else self.series.paths
        try:
            digests = sorted(sha256_of(path) for path in paths)
        except OSError:
            return ""  # reading it will say why
        return digests[0] if self.series is None else _joined(digests)


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
