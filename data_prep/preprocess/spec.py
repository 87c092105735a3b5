"""The preprocessing settings that determine the stored voxels.

The store, the exported model and inference share them, so that the three cannot drift apart.
"""

from dataclasses import dataclass
from typing import Any

from mrct.errors import UsageError
from mrct.imaging.interpolation import Interpolation

VERSION = 6
"""Version of the preprocessing code. Increase it when the same file gives other voxels: stores and
models of different versions cannot be combined."""

_SPACING_MM = (0.01, 100.0)
_MOST_ROWS = 2**14


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessingSpec:
    """All settings that determine the result of `preprocess`."""

    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.0)
    """Voxel size along (z, y, x)."""
    size: tuple[int, int] = (256, 256)
    """Rows and columns (Y, X) of every slice, in voxels; multiples of 4."""
    interpolation: Interpolation = "linear"
    """Interpolation of voxels; `cubic` is a spline of order 3."""
    bias_correction: bool = False
    """Whether the bias field of an MRI is corrected (N4)."""
    version: int = VERSION
    """Version of the preprocessing code."""

    def __post_init__(self) -> None:
        finest, coarsest = _SPACING_MM
        if not all(finest <= mm <= coarsest for mm in self.spacing_mm) or any(
            not 4 <= n <= _MOST_ROWS or n % 4 for n in self.size
        ):
            raise UsageError(
                f"Spacing {self.spacing_mm} mm and size {self.size} are invalid: the spacing must "
                f"be {finest:g} to {coarsest:g} mm, and the networks halve slices twice, so rows "
                f"and columns must be multiples of 4, up to {_MOST_ROWS}. Give e.g. --spacing-mm 3 "
                "1 1 --size 256 256."
            )

    def settings(self) -> dict[str, Any]:
        """Return all settings except the grid, as JSON values for a store's root attributes."""
        return {
            "preprocessing": self.version,
            "interpolation": self.interpolation,
            "bias_correction": self.bias_correction,
        }

    @classmethod
    def of_root(cls, root: dict[str, Any]) -> "PreprocessingSpec":
        """Return the settings in a store's root attributes; missing ones get their defaults."""
        settings = root["settings"]
        return cls(
            spacing_mm=tuple(root["spacing_mm"]),
            size=tuple(root["size"]),
            interpolation=settings.get("interpolation", "linear"),
            bias_correction=settings.get("bias_correction", False),
            version=settings.get("preprocessing", VERSION),
        )
