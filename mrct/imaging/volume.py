"""A volume: voxels with their geometry.

Axes: voxels are [z, y, x] (slices, rows, columns); an affine maps (x, y, z, 1) voxel indices, voxel
centres at integers, to RAS millimetres (+x right, +y anterior,
+z superior). Every stage keeps these two conventions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.modality import Modality

Affine = NDArray[np.float64]
LPS_TO_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the patient axes of DICOM and ITK (+x left, +y posterior) to RAS; its own inverse."""
PLANES = ("sagittal", "coronal", "axial")
"""Planes of slices, by the axis of the patient (x, y, z) that they are perpendicular to."""

Note = Callable[[str], None]


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Return the voxel size in mm along (z, y, x): the lengths of the affine's columns.

    Args:
        affine: [4, 4], (x, y, z, 1) voxel indices to RAS mm.

    Examples:
        >>> spacing_of(np.diag([-0.8, -0.8, 3.0, 1.0]))
        (3.0, 0.8, 0.8)
    """
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(z), float(y), float(x)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """The shape and position of a voxel grid in space."""

    shape: tuple[int, int, int]
    """Voxels along (z, y, x)."""
    affine: Affine
    """[4, 4], (x, y, z, 1) voxel indices to RAS mm."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x), in mm."""
        return spacing_of(self.affine)

    @property
    def num_voxels(self) -> int:
        """Number of all voxels."""
        z, y, x = self.shape
        return z * y * x


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Volume:
    """One MRI or CT volume: CT voxels are HU, MRI voxels magnitudes in the scanner's unit.

    Examples:
        >>> Volume(
        ...     voxels=np.zeros((20, 256, 256), np.int16),
        ...     affine=np.diag([-0.8, -0.8, 3.0, 1.0]),
        ...     modality="ct",
        ...     pseudonym="a1b2",
        ... )
        Volume(ct a1b2, 20 x 256 x 256 int16, 3.00 x 0.80 x 0.80 mm (z, y, x))
    """

    voxels: NDArray[np.float32] | NDArray[np.int16]
    """[z, y, x]."""
    affine: Affine
    """[4, 4], (x, y, z, 1) voxel indices to RAS mm."""
    modality: Modality
    pseudonym: str
    """Name of the volume in logs and artefacts; never patient text."""

    @property
    def grid(self) -> Grid:
        """Shape and position of the voxels."""
        z, y, x = self.voxels.shape
        return Grid(shape=(z, y, x), affine=self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x), in mm."""
        return spacing_of(self.affine)

    def on(self, grid: Grid, voxels: NDArray[np.float32] | NDArray[np.int16]) -> "Volume":
        """Return the same volume with other voxels on another grid.

        Args:
            grid: Grid of the new voxels.
            voxels: [z, y, x] in the shape of `grid`; they are not copied.
        """
        assert voxels.shape == grid.shape, f"{voxels.shape} voxels for a grid of {grid.shape}"
        return replace(self, voxels=voxels, affine=grid.affine)

    def __repr__(self) -> str:
        z, y, x = self.voxels.shape
        dz, dy, dx = self.spacing_mm
        return (
            f"Volume({self.modality} {self.pseudonym}, {z} x {y} x {x} {self.voxels.dtype}, "
            f"{dz:.2f} x {dy:.2f} x {dx:.2f} mm (z, y, x))"
        )


def ignore_note(text: str) -> None:
    """Drop a note: the `Note` of callers that show none."""
