"""Estimate the uncertainty of each voxel of a synthetic volume, in its unit (HU for a CT).

Three terms are combined: the spread of the output over mirrored and slightly shifted slices
(test-time augmentation, Wang et al. 2019, Neurocomputing 338), the error of the cycle CT -> MRI ->
CT, and the ambiguity of regions in the body without MRI signal, which may be air or bone, 2,000 HU
apart. The estimate shows where the networks are inconsistent or have no signal; consistent errors
do not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cyclegan.translate.engine import Done, TranslationEngine, no_progress
from data_prep.preprocess.preprocess import PreprocessedVolume
from mrct.imaging.hounsfield import VOID_HU
from mrct.imaging.intensity import normalise

SMOOTH_MM = 3.0
"""Standard deviation of the Gaussian that smooths the map, since inconsistent voxels are near, not
exactly at, wrong ones."""
VOID_POWER = 4
"""Power of the darkness, 0 to 1, so that tissue that is merely dark does not count as a void."""
Images = Float[Tensor, "Z 1 H W"]


@dataclass(frozen=True, slots=True)
class Flip:
    """A mirror image or a cyclic shift by some pixels."""

    flip: bool
    rows: int
    columns: int

    def apply(self, images: Images) -> Images:
        """Transform slices."""
        images = images.flip(-1) if self.flip else images
        return images.roll((self.rows, self.columns), (-2, -1))

    def undo(self, images: Images) -> Images:
        """Transform slices back."""
        images = images.roll((-self.rows, -self.columns), (-2, -1))
        return images.flip(-1) if self.flip else images

    def body(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Transform the mask of the body in the same way."""
        mask = mask[..., ::-1] if self.flip else mask
        return np.roll(mask, (self.rows, self.columns), (-2, -1))


FLIPS = (Flip(True, 0, 0), Flip(False, 1, 2), Flip(False, -2, -1), Flip(True, 2, -1))
"""Shifts are not multiples of 4 pixels, under which the networks are equivariant, and at most
`MAX_SHIFT`."""


def passes(inverse: TranslationEngine | None) -> int:
    """Return the number of forward passes of the volume, including the translation itself."""
    return 1 + len(FLIPS) + (2 if inverse else 0)


def uncertainty(
    engine: TranslationEngine,
    inverse: TranslationEngine | None,
    images: Images,
    translated: Images,
    shown: PreprocessedVolume,
    done: Done = no_progress,
) -> NDArray[np.float32]:
    """Return the uncertainty [z, y, x] as a standard deviation; 0 outside the body.

    `translated` is the output for `images`. `back` is the model of the other direction; without it
    the cycle error is omitted.
    """
    squares = spread(engine, images, translated, shown, done) ** 2
    if inverse is not None:
        squares += cycle_error(engine, inverse, translated, shown, done) ** 2
    low, high = engine.window
    deviation = squares.sqrt()[:, 0].numpy() * ((high - low) / 2)
    sigmas = [SMOOTH_MM / mm for mm in shown.grid.spacing_mm]
    unsure = smooth_inside(deviation, shown.body, sigmas)
    if engine.model.info.target == "ct":
        unsure = np.hypot(unsure, void(shown))
    return unsure


def void(shown: PreprocessedVolume) -> NDArray[np.float32]:
    """Return the uncertainty in HU [z, y, x] due to missing MRI signal inside the body."""
    dark = (1 - normalise(shown.voxels.astype(np.float32), shown.window)) / 2
    return np.where(shown.body, VOID_HU * dark**VOID_POWER, 0).astype(np.float32)


def spread(
    engine: TranslationEngine,
    images: Images,
    translated: Images,
    shown: PreprocessedVolume,
    done: Done,
) -> Images:
    """Return the standard deviation over the moves and the original slice, in network units."""
    # Sums of differences, not of values, whose squares would lose precision by cancellation.
    total, squares = torch.zeros_like(translated), torch.zeros_like(translated)
    for move in FLIPS:
        made = engine.run(move.apply(images), shown, done, turned=move.body)
        made = move.undo(made) - translated
        total += made
        squares += made**2
    count = len(FLIPS) + 1
    return (squares / count - (total / count) ** 2).clamp(min=0).sqrt()


def cycle_error(
    engine: TranslationEngine,
    inverse: TranslationEngine,
    translated: Images,
    shown: PreprocessedVolume,
    done: Done,
) -> Images:
    """Return the absolute change of the synthetic image by a cycle, in network units."""
    body = torch.from_numpy(shown.body)[:, None]
    air = -1.0 if engine.model.info.target == "ct" else translated.min()
    seen = torch.where(body, translated, torch.as_tensor(air, dtype=translated.dtype))
    returned = engine.run(inverse.run(seen, shown, done), shown, done)
    return (returned - translated).abs()


def smooth_inside(
    values: NDArray[Any], body: NDArray[np.bool_], sigmas: Sequence[float]
) -> NDArray[np.float32]:
    """Return a Gaussian mean over the body alone; 0 outside."""
    inside = body.astype(np.float32)
    weights = ndimage.gaussian_filter(inside, sigmas, mode="constant")
    blurred = ndimage.gaussian_filter(values * inside, sigmas, mode="constant")
    return np.where(body, blurred / np.maximum(weights, 1e-6), 0).astype(np.float32)
