"""Voxel values to network values in [-1, 1] and back, each mapping beside its inverse.

Plain arithmetic on float arrays of any shape, numpy or torch alike; the result is of the same kind.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.volume import Modality

Window = tuple[float, float]
"""The values that become -1 and +1."""
Array = TypeVar("Array", bound=Any)

AIR: dict[Modality, float] = {"mri": 0.0, "ct": AIR_HU}
"""What stands where nothing was measured: in padding, and beyond a volume's reach."""
INVERTED_CENTRE = 0.05
INVERTED_SLOPE = 0.45
INVERTED_AIR = -0.7
"""Midway between air, -1, and the brightest MRI value, -0.4."""


def normalise(values: Array, window: Window) -> Array:
    """Map `window` linearly to [-1, 1]; values beyond it are clipped."""
    low, high = window
    scaled: Array = ((values - low) * (2 / (high - low)) - 1).clip(-1, 1)
    return scaled


def denormalise(x: Array, window: Window) -> Array:
    """Map [-1, 1] linearly to `window`: the inverse of `normalise` for values inside the window."""
    low, high = window
    values: Array = (x + 1) * ((high - low) / 2) + low
    return values


def robust_window(voxels: NDArray[Any], body: NDArray[Any]) -> Window:
    """The MRI window: zero to the 99.5th percentile inside the body, in the unit of `voxels`.

    Magnitudes start at zero and air lies there, so zero is the low end; only where an earlier tool
    left negative values inside the body is it their 0.5th percentile. The high end leaves out the
    few voxels that a vessel or a coil drives far above all tissue.
    """
    inside = voxels[body.astype(bool)]
    low, high = np.percentile(inside, [0.5, 99.5])
    return min(0.0, float(low)), float(high)


def invert_contrast(x: Array, body: Array) -> Array:
    """The MRI in a CT-like order: inside the body 0.05 - 0.45 x, outside it -1 like air.

    Bright scalp fat goes below soft tissue and dark bone above it, as in CT, which keeps the
    translator from painting fat as bone (contrast lock-in). `x` is in [-1, 1]; `body` is 0 or 1
    and broadcasts to it. The result is in [-0.4, 0.5] inside the body.
    """
    inverted: Array = body * (1 + INVERTED_CENTRE - INVERTED_SLOPE * x) - 1
    return inverted


def restore_contrast(y: Array, body: Array) -> Array:
    """The inverse of `invert_contrast` inside the body, clipped to [-1, 1]; outside it -1.

    Below INVERTED_AIR a network means air, not the brightest fat there is: that too becomes -1.
    """
    x: Array = (y - INVERTED_CENTRE) * (-1 / INVERTED_SLOPE)
    restored: Array = body * (y > INVERTED_AIR) * (x.clip(-1, 1) + 1) - 1
    return restored
