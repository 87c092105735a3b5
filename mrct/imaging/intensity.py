"""Maps voxel values to network values in [-1, 1] and back, each mapping beside its inverse.

The functions are arithmetic on float arrays of any shape, numpy or torch; the result has the same
type.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.modality import Modality

Window = tuple[float, float]
"""The values that are mapped to -1 and +1."""
Array = TypeVar("Array", bound=Any)

AIR: dict[Modality, float] = {"mri": 0.0, "ct": AIR_HU}
"""Value where nothing was measured: in padding, and outside a volume."""
MEDIAN_LEVEL = 0.4
"""Where in its window the median of an MRI's body lies, from 0 to 1."""
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
    """Return the MRI window in which the body's median lies at MEDIAN_LEVEL, in units of `voxels`.

    Magnitudes start at zero, where air lies, so zero is the low end; only if an earlier tool left
    negative values inside the body, it is their 0.5th percentile. The median is a standard by
    tissue: unlike a high percentile it is not moved by what is bright in one person alone (fat,
    vessels, a contrast agent, the surroundings of a coil), and such voxels are clipped.
    """
    low, median = np.percentile(voxels[body.astype(bool)], [0.5, 50])
    low = min(0.0, float(low))
    return low, low + (float(median) - low) / MEDIAN_LEVEL


def invert_contrast(x: Array, body: Array) -> Array:
    """Invert the contrast of an MRI: inside the body 0.05 - 0.45 x, outside it -1 like air.

    Bright scalp fat is then below soft tissue and dark bone above it, as in CT, which keeps the
    generator from rendering fat as bone (contrast lock-in). `x` is in [-1, 1]; `body` is 0 or 1
    and broadcasts to it. The result is in [-0.4, 0.5] inside the body.
    """
    inverted: Array = body * (1 + INVERTED_CENTRE - INVERTED_SLOPE * x) - 1
    return inverted


def restore_contrast(y: Array, body: Array) -> Array:
    """Invert `invert_contrast` inside the body, clipped to [-1, 1]; outside it the result is -1.

    Network output below INVERTED_AIR means air, not the brightest fat, and also becomes -1.
    """
    x: Array = (y - INVERTED_CENTRE) * (-1 / INVERTED_SLOPE)
    restored: Array = body * (y > INVERTED_AIR) * (x.clip(-1, 1) + 1) - 1
    return restored
