"""A volume as a file has it to the form that the store holds and the networks expect.

Shared by `convert` and by inference, so that the two cannot drift apart.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.preprocess.cropping import Cut, cut_of
from data_prep.preprocess.spec import Recipe
from mrct.errors import VolumeError
from mrct.imaging.bias_field import corrected_for_bias
from mrct.imaging.body_mask import body_mask, bounding_box
from mrct.imaging.connected_components import Box
from mrct.imaging.geometry import canonical, relative_height, resample, resample_mask, target_grid
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import AIR, Window, robust_window
from mrct.imaging.volume import Affine, Grid, Volume

_ROUGH_MM = 3.0
_INT16_MAX = 32767
_FINE_ENOUGH = 1000
"""An MRI whose largest value is below this would lose grey levels when rounded; it is scaled."""


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
    cut: Cut | None = None
    """What of the body the slices are too small for, if that is known."""

    @property
    def grid(self) -> Grid:
        """Where the stored voxels lie."""
        z, y, x = self.voxels.shape
        return Grid(shape=(z, y, x), affine=self.affine)

    @property
    def height(self) -> NDArray[np.float64]:
        """[z]: 0 at the lowest and 1 at the highest slice that holds body, clipped beyond.

        In the steps that the index of a store keeps.
        """
        holding = np.flatnonzero(self.body.any(axis=(1, 2)))
        z = len(self.body)
        lowest, highest = (holding[0], holding[-1]) if len(holding) else (0, z - 1)
        return relative_height(np.arange(z), lowest, highest)


def harmonise(
    volume: Volume, recipe: Recipe, *, grid: Grid | None = None, given_body: Volume | None = None
) -> HarmonisedVolume:
    """Bring a volume to canonical axes, the recipe's spacing and (Y, X), and int16.

    `grid` overrides the grid that would follow from the volume itself: a paired CT lies on its
    MRI's. `given_body` is a mask (above 0 is body) in the volume's frame, on any grid; it takes
    the place of the one that is found in the voxels. Raises VolumeError where no body is found.
    """
    upright = canonical(volume)
    if volume.modality == "ct":
        # Before resampling: padding of -3024 and metal of 30,000 HU would bleed into neighbours.
        low, high = (upright.voxels.dtype.type(hu) for hu in WINDOW_HU)
        upright = replace(upright, voxels=upright.voxels.clip(low, high))
    whole = tuple(slice(0, n) for n in upright.voxels.shape)
    box = _rough_box(upright) or whole
    if given_body is not None:
        box = bounding_box(_moved(given_body, upright.grid)) or whole
    grid = grid or target_grid(upright.grid, recipe.spacing_mm, recipe.size, box)
    air = AIR[volume.modality]
    values = resample(upright, grid, fill=air, interpolation=recipe.interpolation).voxels
    if given_body is None:
        body = body_mask(values, volume.modality, spacing_mm=grid.spacing_mm)
    else:
        body = _moved(given_body, grid)
    if not body.any():
        raise VolumeError(
            "no-body",
            "No body was found: nothing stands out from the background.",
            "Look at the file; if it does hold anatomy, report it as a case for the body mask.",
        )
    if recipe.bias_correction and volume.modality == "mri":
        values = corrected_for_bias(values, body, spacing_mm=grid.spacing_mm)
    scale = 1.0 if volume.modality == "ct" else _mri_scale(values)
    limits = WINDOW_HU if volume.modality == "ct" else (-_INT16_MAX, _INT16_MAX)
    voxels = np.rint(values / scale).clip(*limits).astype(np.int16)
    window = WINDOW_HU if volume.modality == "ct" else robust_window(voxels, body)
    if window[0] >= window[1]:
        raise VolumeError(
            "no-contrast",
            f"The robust window inside the body is empty ({window[0]:g} to {window[1]:g}).",
            "Look at the file: it is a mask, or its magnitudes were cut off.",
        )
    return HarmonisedVolume(
        voxels=voxels,
        body=body,
        affine=grid.affine,
        window=window,
        scale=scale,
        source=volume.grid,
        cut=cut_of(body, grid, box, upright.grid),
    )


def _moved(body: Volume, grid: Grid) -> NDArray[np.bool_]:
    return resample_mask(body.voxels > 0, body.grid, grid)


def _rough_box(volume: Volume) -> Box | None:
    """The body's box on the volume's own grid, from voxels of about 3 mm: enough to centre on.

    None where no body is found.
    """
    shape = volume.voxels.shape
    steps = [
        min(max(1, int(_ROUGH_MM / mm)), n) for mm, n in zip(volume.spacing_mm, shape, strict=True)
    ]
    coarse: NDArray[Any] = volume.voxels[:: steps[0], :: steps[1], :: steps[2]]
    if volume.modality == "mri":
        coarse = _pooled(volume.voxels[:: steps[0]], steps[1], steps[2])
    dz, dy, dx = (mm * step for mm, step in zip(volume.spacing_mm, steps, strict=True))
    # Not drawn in: a picture as large as its grid must not lose the patient's dark rim.
    mask = body_mask(coarse, volume.modality, spacing_mm=(dz, dy, dx), drawn_in=False)
    box = bounding_box(mask)
    return box and tuple(
        slice(side.start * step, min(side.stop * step, n))
        for side, step, n in zip(box, steps, shape, strict=True)
    )


def _pooled(voxels: NDArray[Any], rows: int, columns: int) -> NDArray[np.float32]:
    """Means over blocks of a slice, in which noise is lower; what is no full block is left out."""
    z, y, x = len(voxels), voxels.shape[1] // rows, voxels.shape[2] // columns
    blocks = voxels[:, : y * rows, : x * columns].reshape(z, y, rows, x, columns)
    return np.asarray(blocks.mean(axis=(2, 4)), np.float32)


def _mri_scale(values: NDArray[Any]) -> float:
    """1 where magnitudes fit int16 with enough grey levels, else what makes them fill it."""
    largest = float(np.abs(values).max())
    return 1.0 if _FINE_ENOUGH <= largest <= _INT16_MAX else largest / _INT16_MAX
