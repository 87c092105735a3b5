"""The recipe by which a volume is brought to the form that the networks expect.

One value for the store, the exported model and inference, so that the three cannot drift apart.
"""

from dataclasses import dataclass
from typing import Any

from mrct.errors import UsageError
from mrct.imaging.interpolation import Interpolation

VERSION = 4
"""Raise it when the same file gives other voxels: stores and models of two versions do not mix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All choices that decide what `harmonise` makes of a volume."""

    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.0)
    """Voxel size along (z, y, x)."""
    size: tuple[int, int] = (256, 256)
    """Rows and columns (Y, X) of every slice, in voxels; multiples of 4."""
    interpolation: Interpolation = "linear"
    """How voxels between those of the source get their value; `cubic` is a spline."""
    bias_correction: bool = False
    """Whether the slow change of brightness that coils leave in an MRI is divided out (N4)."""
    version: int = VERSION
    """Of the code that follows the recipe."""

    def __post_init__(self) -> None:
        if min(self.spacing_mm) <= 0 or any(n < 4 or n % 4 for n in self.size):
            raise UsageError(
                f"No store can have spacing {self.spacing_mm} mm and size {self.size}: spacing "
                "must be above 0, and the networks halve slices twice, so rows and columns must "
                "be multiples of 4. Give e.g. --spacing-mm 3 1 1 --size 256 256."
            )

    def settings(self) -> dict[str, Any]:
        """All but the grid, as plain values: what a store keeps beside its spacing and size."""
        return {
            "preprocessing": self.version,
            "interpolation": self.interpolation,
            "bias_correction": self.bias_correction,
        }

    @classmethod
    def of_root(cls, root: dict[str, Any]) -> "Recipe":
        """The recipe in a store's root attributes; a store of tests may name no settings."""
        settings = root["settings"]
        return cls(
            spacing_mm=tuple(root["spacing_mm"]),
            size=tuple(root["size"]),
            interpolation=settings.get("interpolation", "linear"),
            bias_correction=settings.get("bias_correction", False),
            version=settings.get("preprocessing", VERSION),
        )
