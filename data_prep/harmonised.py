"""A volume in the form that the store holds and the networks expect."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.intensity import Window
from data_prep.volume import Affine, Grid


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HarmonisedVolume:
    """A volume on the store's grid in stored units."""

    voxels: NDArray[np.int16]
    """[z, y, x]: HU clipped to WINDOW_HU, or MRI magnitudes divided by `scale`."""
    body: NDArray[np.bool_]
    """[z, y, x]."""
    affine: Affine
    window: Window
    """In stored units: what becomes -1 and 1."""
    scale: float
    source: Grid
    """The file's own grid; `geometry.resample` onto it is the way back."""

    @property
    def grid(self) -> Grid:
        """Where the stored voxels lie."""
        z, y, x = self.voxels.shape
        return Grid(shape=(z, y, x), affine=self.affine)
