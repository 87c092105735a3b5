"""Augmentation of slices in training: parameters from (seed, index), and their affine matrices.

`dali.py` applies them to the pixels, with the help of `mri_intensity.py`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from cyclegan.data.philox import Stream, raw_bytes, uniforms

Floats = NDArray[np.float64]

LEVELS = 32
"""Quantization steps of the noise bank per standard deviation."""
PATCH = 4
"""Pixels along either side of a patch of `DrawNoise`."""
NUM_OFFSETS = 2**20
"""Number of positions where a piece of the noise bank may begin."""
BIAS_TERMS = [(i, j) for i in range(4) for j in range(4 - i) if i + j > 0]
"""Degrees along rows and columns of the bias field's Legendre polynomials. The constant is left
out, since `gain` is one."""
_BYTES = 12
"""Random bytes summed per noise value: the sum's standard deviation, 256.0, is a power of two, and
its range is 6 of them to either side."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Augmentation:
    """Augmentation of N slices.

    In this order: mirror, rotate and zoom, shift; and of the intensities above the window's low
    end gain, gamma, bias field, blur, noise.

    A flip changes training images only: neither the geometry of a volume nor any result of the
    system is ever flipped.
    """

    flip: NDArray[np.bool_]
    """[N], mirrored left to right."""
    rotate_degrees: Floats
    """[N], counter-clockwise as displayed with row 0 on top, about the slice's centre."""
    zoom: Floats
    """[N], scale factor; above 1 enlarges."""
    shift: Floats
    """[N, 2], (rows down, columns right) as a share of the slice's height and width."""
    gain: Floats
    """[N], factor on the intensities above the window's low end."""
    gamma: Floats
    """[N], power of the intensities as a share of the window; below 1 lifts dark tissue."""
    bias: Floats
    """[N, BIAS_TERMS], coefficients of the bias field's logarithm."""
    blur_mm: Floats
    """[N], standard deviation of the Gaussian that smooths the slice, in mm."""
    noise: Floats
    """[N], standard deviation of added noise, in network units."""
    noise_offset: Floats
    """[N, 2], in [0, 1), positions of the pieces of the noise bank that are added, of the real and
    the imaginary part."""

    @classmethod
    def none(cls, count: int) -> "Augmentation":
        """Return the augmentation that leaves `count` slices unchanged."""
        ones, zeros = np.ones(count), np.zeros(count)
        return cls(
            flip=zeros.astype(bool),
            rotate_degrees=zeros,
            zoom=ones,
            shift=np.zeros((count, 2)),
            gain=ones,
            gamma=ones,
            bias=np.zeros((count, len(BIAS_TERMS))),
            blur_mm=zeros,
            noise=zeros,
            noise_offset=np.zeros((count, 2)),
        )

    @classmethod
    def draw(
        cls, config: DataConfig, seed: int, stream: Stream, indices: NDArray[np.int64]
    ) -> "Augmentation":
        """Draw the augmentation of some samples, uniformly from the configured ranges.

        Zoom and gamma are uniform in their logarithm. Intensities change in the MRI only.

        Args:
            config: Ranges of the augmentation.
            seed: Seed of the run.
            stream: `MRI_VARIATION` or `CT_VARIATION`.
            indices: [N], indices of the samples, close together (`philox.uniforms`).
        """
        u = uniforms(seed, stream, indices, count=8)
        signed = 2 * u - 1
        low, high = config.zoom
        drawn = replace(
            cls.none(len(indices)),
            flip=config.flip & (u[:, 0] < 0.5),
            rotate_degrees=config.rotate_degrees * signed[:, 1],
            zoom=low * (high / low) ** u[:, 2],  # uniform in the logarithm: 1/2 as likely as 2
            shift=config.translate_fraction * signed[:, 3:5],
        )
        if stream is not Stream.MRI_VARIATION:
            return drawn  # CT intensities must remain HU
        v = uniforms(seed, Stream.MRI_INTENSITY, indices, count=7 + len(BIAS_TERMS))
        gamma, bias, blur, noise = (v[:, :4] < config.intensity_share).T
        low, high = config.gamma
        return replace(
            drawn,
            gain=1 + config.contrast * signed[:, 5],
            gamma=np.where(gamma, low * (high / low) ** v[:, 4], 1.0),
            bias=config.bias_field * bias[:, None] * (2 * v[:, 7:] - 1),
            blur_mm=config.blur_mm * blur * v[:, 5],
            noise=config.noise * noise * u[:, 6],
            noise_offset=np.stack([u[:, 7], v[:, 6]], axis=1),
        )

    def matrices(
        self, size_yx: tuple[int, int], spacing_yx_mm: tuple[float, float]
    ) -> NDArray[np.float32]:
        """Return matrices that map output pixels (x, y, 1) to input pixels (x, y, 1), [N, 3, 3].

        Coordinates are in pixels from the outer corner of pixel (0, 0), so pixel centres are at
        halves. The rotation is rigid in millimetres, even if rows and columns differ in spacing.

        Args:
            size_yx: Height and width of a slice in pixels.
            spacing_yx_mm: Spacing along rows and columns in mm.
        """
        size = np.array(size_yx[::-1], np.float64)
        aspect = spacing_yx_mm[0] / spacing_yx_mm[1]
        angle = np.deg2rad(self.rotate_degrees)
        cos, sin = np.cos(angle) / self.zoom, np.sin(angle) / self.zoom
        mirror = np.where(self.flip, -1.0, 1.0)
        # linear: [N, 2, 2], the inverse of mirror, then rotation and zoom
        linear = np.stack(
            [
                np.stack([mirror * cos, -mirror * sin * aspect], axis=-1),
                np.stack([sin / aspect, cos], axis=-1),
            ],
            axis=-2,
        )
        centre = size / 2
        moved = centre + self.shift[:, ::-1] * size
        offset = centre - np.einsum("nij,nj->ni", linear, moved)
        matrices = np.zeros((len(linear), 3, 3), np.float32)
        matrices[:, :2, :2], matrices[:, :2, 2], matrices[:, 2, 2] = linear, offset, 1
        return matrices


class NoiseBank:
    """Bank of standard normal noise, quantized to 1 / LEVELS and clipped at 3.97 deviations.

    Args:
        seed: Seed of the run.
        piece: Number of values in a piece.
    """

    def __init__(self, seed: int, piece: int) -> None:
        self._piece = piece
        words = raw_bytes(seed, Stream.MRI_NOISE, _BYTES * (NUM_OFFSETS + piece))
        sums = words.reshape(-1, _BYTES).sum(axis=1, dtype=np.int16) - _BYTES * 255 // 2
        self._values = np.clip((sums + 4) >> 3, -127, 127).astype(np.int8)

    def cut(self, positions: NDArray[np.float64]) -> NDArray[np.int8]:
        """Return the pieces that begin at `positions`, given in [0, 1); [N, piece]."""
        starts = (positions * NUM_OFFSETS).astype(np.int64)
        return np.stack([self._values[start : start + self._piece] for start in starts])


class DrawNoise:
    """Noise for MRIs that a generator draws from CTs: white, plus as strong in square patches.

    Args:
        seed: Seed of the run.
        size_yx: Height and width of a slice in pixels.
    """

    def __init__(self, seed: int, size_yx: tuple[int, int]) -> None:
        self._seed, self._size = seed, size_yx
        self._bank = NoiseBank(seed, size_yx[0] * size_yx[1])

    def planes(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the noise of some samples, [N, 1, H, W], each part of standard deviation 1.

        Args:
            indices: [N], indices of the samples, close together (`philox.uniforms`).
        """
        height, width = self._size
        offsets = uniforms(self._seed, Stream.DRAW_NOISE, indices, count=2)
        white, coarse = (self._bank.cut(offsets[:, k]).reshape(-1, height, width) for k in (0, 1))
        coarse = coarse[:, : -(-height // PATCH), : -(-width // PATCH)]
        patches = coarse.repeat(PATCH, axis=1).repeat(PATCH, axis=2)[:, :height, :width]
        return np.asarray((white.astype(np.float32) + patches)[:, None] / LEVELS, np.float32)
