"""Intensity augmentation of MRI slices as inputs of the DALI graph: gamma, bias field, blur, noise.

The graph (`dali.py`) applies them. An input of a slice that stays as it is has one pixel, since the
graph does not use it.

Axes: C neighbouring slices, H rows, W columns.
"""

from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from cyclegan.data.augmentation import BIAS_TERMS, LEVELS, Augmentation, NoiseBank


class MriIntensity:
    """Source of the graph's inputs for the intensities of MRI slices.

    Args:
        config: Ranges of the augmentation, and the number of neighbours.
        seed: Seed of the run.
        size_yx: Height and width of a slice in pixels.
        spacing_yx_mm: Spacing along rows and columns in mm.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        size_yx: tuple[int, int],
        spacing_yx_mm: tuple[float, float],
    ) -> None:
        self._shape = (config.channels, *size_yx, 1)
        self._spacing_yx_mm = np.array(spacing_yx_mm)
        self._is_rician = config.noise_kind == "rician"
        self._bank = NoiseBank(seed, config.channels * size_yx[0] * size_yx[1])
        # [terms, H] and [terms, W]: a bias field is the sum of their products
        self._rows, self._columns = (
            np.stack([polynomials(size)[term[axis]] for term in BIAS_TERMS])
            for axis, size in enumerate(size_yx)
        )

    def inputs(self, augmentation: Augmentation) -> dict[str, Any]:
        """Return the inputs by name, each an array or a list of arrays with an entry per slice."""
        biased = (augmentation.bias != 0).max(axis=1)
        noisy = augmentation.noise > 0
        inputs: dict[str, Any] = {
            "gamma": augmentation.gamma.astype(np.float32),
            "is_biased": biased,
            "bias": [
                self.bias_field(terms)[None, ..., None] if there else np.ones((1, 1, 1, 1), "f4")
                for terms, there in zip(augmentation.bias, biased, strict=True)
            ],
            "blur": (augmentation.blur_mm[:, None] / self._spacing_yx_mm).astype(np.float32),
            "noise_step": (augmentation.noise / LEVELS).astype(np.float32),
            "noise": self._noise(augmentation.noise_offset[:, 0], noisy),
        }
        if self._is_rician:
            inputs["noise_imaginary"] = self._noise(augmentation.noise_offset[:, 1], noisy)
        return inputs

    def bias_field(self, coefficients: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the factor of each pixel, [H, W], for the coefficients of BIAS_TERMS."""
        field = (coefficients[:, None] * self._rows).T @ self._columns
        return np.asarray(np.exp(field.astype(np.float32)))

    def _noise(
        self, offsets: NDArray[np.float64], noisy: NDArray[np.bool_]
    ) -> list[NDArray[np.int8]]:
        """Return the noise of each slice, [C, H, W, 1], in units of 1 / LEVELS."""
        pieces = iter(self._bank.cut(offsets[noisy])) if noisy.any() else iter(())
        return [
            next(pieces).reshape(self._shape) if there else np.zeros((1, 1, 1, 1), np.int8)
            for there in noisy
        ]


def polynomials(size: int) -> NDArray[np.float64]:
    """Return the Legendre polynomials of degree 0 to 3 at the pixels of an axis, [4, size].

    The first pixel is at -1, the last at 1.
    """
    return np.asarray(legendre.legvander(np.linspace(-1, 1, size), 3).T, np.float64)
