"""The facts of a stored volume, without its voxels."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import Split
from mrct.errors import StoreError
from mrct.imaging.intensity import Window
from mrct.imaging.modality import MODALITIES, Modality
from mrct.imaging.volume import Affine
from mrct.storage.names import is_plain

PSEUDONYM = "[0-9a-f]{16}"
"""Regular expression of the pseudonyms of subjects and volumes."""
VOLUME_NAME = f"(?:{'|'.join(MODALITIES)})/{PSEUDONYM}"
"""Regular expression of the names of volumes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredVolume:
    """The facts of a stored volume: its entry in the index, without the voxels."""

    name: str
    """`mri/<pseudonym>` or `ct/<pseudonym>`: its group inside the store."""
    modality: Modality
    kind: str
    """What kind of image it is, such as T1w; see `dicom.image_kind`."""
    subject: str
    """The subject's pseudonym."""
    split: Split
    link: str | None
    """Name of the same subject's aligned volume of the other modality."""
    shape: tuple[int, int, int]
    """[z, y, x]."""
    affine: Affine
    """[4, 4], stored (x, y, z, 1) indices to RAS mm."""
    window: Window
    """The stored int16 values that `intensity.normalise` maps to -1 and 1; WINDOW_HU for CT."""
    scale: float
    """Stored value times this, plus `offset`, is the source's value; 1 for CT."""
    offset: float
    """The source's value in air, for an MRI; 0 for CT."""
    body_fraction: NDArray[np.float64]
    """[z]: fraction of voxels inside the body, 0 to 1."""
    height: NDArray[np.float64]
    """[z]: 0 at the lowest and 1 at the highest slice that holds body, clipped beyond."""
    deviation: NDArray[np.float64]
    """[z]: standard deviation of the normalised values; near 0 in slices of air."""
    source_shape: tuple[int, int, int]
    """[z, y, x] of the source file, before it was brought to the canonical axes."""
    source_affine: Affine
    """[4, 4], (x, y, z, 1) indices of the source file to RAS mm."""

    def __post_init__(self) -> None:
        for name in (self.name, self.link):
            if name is not None and not is_plain(name, VOLUME_NAME):
                raise StoreError(
                    f"A store names a volume {name!r}. The name of a volume is mri/ or ct/ and 16 "
                    "hexadecimal digits, and becomes a path: this one could lead to other files. "
                    "Run `python -m data_prep check STORE --repair` to rebuild its index."
                )

    def to_json(self) -> dict[str, Any]:
        """Return the facts by name as JSON values, with lists in place of arrays."""
        arrays = ("affine", "source_affine", "body_fraction", "height", "deviation")
        return asdict(self) | {name: getattr(self, name).tolist() for name in arrays}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "StoredVolume":
        """Return the volume of JSON values written by `to_json`."""
        tuples = ("shape", "window", "source_shape")
        arrays = ("affine", "source_affine", "body_fraction", "height", "deviation")
        return cls(
            **values
            | {name: tuple(values[name]) for name in tuples}
            | {name: np.array(values[name], dtype=np.float64) for name in arrays}
        )
