"""The facts of a stored volume, without its voxels, and its metadata as an OME-Zarr image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import Split
from data_prep.preprocess.height_axis import HeightAxis, Outline, Placement
from data_prep.store.zarr_codec import ATTRIBUTE, METADATA, zarr_group
from mrct.errors import StoreError
from mrct.imaging.intensity import Window
from mrct.imaging.modality import MODALITIES, Modality
from mrct.imaging.volume import Affine, spacing_of
from mrct.storage.names import is_plain

PSEUDONYM = "[0-9a-f]{16}"
"""Regular expression of the pseudonyms of subjects and volumes."""
VOLUME_NAME = f"(?:{'|'.join(MODALITIES)})/{PSEUDONYM}"
"""Regular expression of the names of volumes."""
_OME_VERSION = "0.5"
_OME_AXES = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]
_ARRAY_DTYPES = dict.fromkeys(
    ("affine", "source_affine", "body_fraction", "deviation"), np.float64
) | {"outline": np.int64}


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
    outline: Outline
    """[z, 3]: body voxels, rows and columns with body in each slice."""
    lowest: float
    """Index of its slice at height 0; beyond its slices, or between two, on the store's axis."""
    highest: float
    """The same at height 1."""
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

    @property
    def height(self) -> NDArray[np.float64]:
        """[z]: height of each slice in the body, 0 to 1, clipped beyond.

        It is that on the axis of the store, or without one 0 at the lowest and 1 at the highest
        slice that holds body.
        """
        return Placement(lowest=self.lowest, highest=self.highest).heights(self.shape[0])

    def place(self, axis: HeightAxis) -> Placement:
        """Return where it lies on an axis."""
        return axis.place(self.outline, spacing_of(self.affine))

    def on(self, axis: HeightAxis) -> "StoredVolume":
        """Return the volume with its heights on another axis."""
        placement = self.place(axis)
        return replace(self, lowest=placement.lowest, highest=placement.highest)

    def to_json(self) -> dict[str, Any]:
        """Return the facts by name as JSON values, with lists in place of arrays."""
        return asdict(self) | {name: getattr(self, name).tolist() for name in _ARRAY_DTYPES}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "StoredVolume":
        """Return the volume of JSON values written by `to_json`."""
        tuples = ("shape", "window", "source_shape")
        return cls(
            **values
            | {name: tuple(values[name]) for name in tuples}
            | {name: np.array(values[name], dtype=dtype) for name, dtype in _ARRAY_DTYPES.items()}
        )


def ome_groups(
    stored: StoredVolume, facts: dict[str, Any], labels: Sequence[str]
) -> dict[str, bytes]:
    """Return the OME-Zarr 0.5 groups of an image and its labels, with the affine beside them."""
    scale = {"type": "scale", "scale": list(spacing_of(stored.affine))}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    image = {
        "version": _OME_VERSION,
        "multiscales": [{"name": stored.modality, "axes": _OME_AXES, "datasets": [dataset]}],
    }
    colour = {"label-value": 1, "rgba": [255, 127, 14, 128]}
    label = image | {"image-label": {"colors": [colour], "source": {"image": "../../"}}}
    return {
        METADATA: zarr_group({"ome": image, ATTRIBUTE: facts}),
        f"labels/{METADATA}": zarr_group({"ome": {"version": _OME_VERSION, "labels": labels}}),
        **{f"labels/{name}/{METADATA}": zarr_group({"ome": label}) for name in labels},
    }
