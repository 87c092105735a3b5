"""What the DALI graph is given: slices as stored, and the format of the batches.

Axes: B samples, C neighbouring slices, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from mrct.imaging.modality import Modality

MriContrast = Literal["plain", "inverted"]
NoiseKind = Literal["gaussian", "rician"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFormat:
    """Shape, type and contrast of the batches; fixed for a graph."""

    batch_size: int
    channels: int = 1
    """Slices per image: the sample's own in the middle of its neighbours."""
    mri_contrast: MriContrast = "plain"
    changes_intensity: bool = False
    """Whether the MRI is changed by gamma, bias field, blur and noise (`mri_intensity.py`)."""
    noise_kind: NoiseKind = "gaussian"
    half: bool = False
    """Whether images are float16 instead of float32."""
    channels_last: bool = False
    """Whether images with several channels have the channels_last memory layout."""
    companions: bool = False
    """Whether a CT on the grid of each MRI slice, and its trust, are made with it."""

    @classmethod
    def of(
        cls,
        config: DataConfig,
        *,
        batch_size: int,
        changes_intensity: bool = False,
        channels_last: bool = False,
        companions: bool = False,
    ) -> "BatchFormat":
        """Return the format of a configuration."""
        return cls(
            batch_size=batch_size,
            channels=config.channels,
            mri_contrast=config.mri_contrast,
            changes_intensity=changes_intensity,
            noise_kind=config.noise_kind,
            half=config.dtype == "float16",
            channels_last=channels_last,
            companions=companions,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredCompanions:
    """A CT on the grid of each of B MRI slices, as stored; air of no weight where there is none."""

    hu: NDArray[np.int16]
    """[B, 1, H, W]."""
    weight: NDArray[np.uint8]
    """[B, 1, H, W], how far each voxel is trusted."""
    scale: NDArray[np.float32]
    """[B, 2], trust for one unit of weight, of a true pair and of a warped CT; 0 for the other
    kind."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredSlices:
    """B slices of one domain as stored, each with its neighbours, and their augmentation."""

    voxels: NDArray[np.int16]
    """[B, C, H, W], in stored units."""
    body: NDArray[np.uint8]
    """[B, C, H, W], body mask of 0 and 1."""
    matrix: NDArray[np.float32]
    """[B, 3, 3], from (x, y, 1) of an output pixel to that of the input; centres are at halves."""
    low: NDArray[np.float32]
    """[B], the stored value that becomes -1."""
    scale: NDArray[np.float32]
    """[B], network units for one stored unit: 2 / (high - low)."""
    height: NDArray[np.float32]
    """[B], height in the body; it is no input of the graph."""
    noise: NDArray[np.float32] | None = None
    """[B, 1, H, W], noise for MRIs drawn from CT slices; it is no input of the graph."""
    intensity: Mapping[str, Any] = field(default_factory=dict)
    """Inputs from `MriIntensity`; none for a graph that changes no intensity."""
    companions: StoredCompanions | None = None
    """Of MRI slices, for a graph that makes companions."""

    def inputs(self, modality: Modality) -> dict[str, NDArray[Any]]:
        """Return the graph's inputs by name."""
        inputs: dict[str, NDArray[Any]] = {
            "voxels": self.voxels[..., None],
            "body": self.body[..., None],
            "matrix": self.matrix,
            "scale": self.scale,
            "offset": -self.low * self.scale - 1,
            **self.intensity,
        }
        if self.companions is not None:
            inputs |= {
                "companion": self.companions.hu[..., None],
                "weight": self.companions.weight[..., None],
                "trust": self.companions.scale[..., None, None, None],
            }
        return {f"{modality}_{name}": values for name, values in inputs.items()}
