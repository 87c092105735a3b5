"""How unsure a synthetic volume is, voxel by voxel, in its own unit: HU for a CT.

Two things that a network which knew the answer would not do: say something else when the slice is
mirrored or moved by a few pixels (test-time augmentation, Wang et al. 2019, Neurocomputing 338),
and not come back to its own CT after CT -> MRI -> CT. And one that no network can know: whether a
place in the body where an MRI has no signal is air or bone, 2,000 HU apart. It finds where the
networks disagree with themselves or have nothing to go by; where they agree on something wrong, it
does not.
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

from cyclegan.translate.engine import Done, Engine, unheard
from data_prep.preprocess.preprocess import HarmonisedVolume
from mrct.imaging.hounsfield import VOID_HU
from mrct.imaging.intensity import normalise

SMOOTH_MM = 3.0
"""Standard deviation of the Gaussian over the map: what is unsure lies beside what is wrong."""
VOID_POWER = 4
"""Of the darkness, 0 to 1: tissue that is merely dark is no void."""
Images = Float[Tensor, "Z 1 H W"]


@dataclass(frozen=True, slots=True)
class Move:
    """A mirror image, or the same one some pixels on; air comes in from the other side."""

    flip: bool
    rows: int
    columns: int

    def apply(self, images: Images) -> Images:
        """Slices moved."""
        images = images.flip(-1) if self.flip else images
        return images.roll((self.rows, self.columns), (-2, -1))

    def undo(self, images: Images) -> Images:
        """Moved slices where they were."""
        images = images.roll((-self.rows, -self.columns), (-2, -1))
        return images.flip(-1) if self.flip else images

    def body(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The body's mask moved alike."""
        mask = mask[..., ::-1] if self.flip else mask
        return np.roll(mask, (self.rows, self.columns), (-2, -1))


MOVES = (Move(True, 0, 0), Move(False, 1, 2), Move(False, -2, -1), Move(True, 2, -1))
"""Not whole multiples of 4 pixels, which the networks would not notice."""


def passes(back: Engine | None) -> int:
    """How often the volume goes through a network, the translation itself included."""
    return 1 + len(MOVES) + (2 if back else 0)


def uncertainty(
    engine: Engine,
    back: Engine | None,
    images: Images,
    translated: Images,
    shown: HarmonisedVolume,
    done: Done = unheard,
) -> NDArray[np.float32]:
    """[z, y, x], a standard deviation; 0 outside the body.

    `translated` is what became of `images`. `back` is the model of the other direction; without
    it the way back and again is left out.
    """
    squares = spread(engine, images, translated, shown, done) ** 2
    if back is not None:
        squares += cycle_error(engine, back, translated, shown, done) ** 2
    low, high = engine.window
    deviation = squares.sqrt()[:, 0].numpy() * ((high - low) / 2)
    sigmas = [SMOOTH_MM / mm for mm in shown.grid.spacing_mm]
    unsure = smoothed_inside(deviation, shown.body, sigmas)
    if engine.model.info.target == "ct":
        unsure = np.hypot(unsure, void(shown))
    return unsure


def void(shown: HarmonisedVolume) -> NDArray[np.float32]:
    """HU [z, y, x]: how unsure an MRI without signal leaves everyone, inside the body."""
    dark = (1 - normalise(shown.voxels.astype(np.float32), shown.window)) / 2
    return np.where(shown.body, VOID_HU * dark**VOID_POWER, 0).astype(np.float32)


def spread(
    engine: Engine, images: Images, translated: Images, shown: HarmonisedVolume, done: Done
) -> Images:
    """Standard deviation over the moves and the slice as it is, in network units."""
    # Differences, not values: their squares do not cancel.
    total, squares = torch.zeros_like(translated), torch.zeros_like(translated)
    for move in MOVES:
        made = engine.run(move.apply(images), shown, done, turned=move.body)
        made = move.undo(made) - translated
        total += made
        squares += made**2
    count = len(MOVES) + 1
    return (squares / count - (total / count) ** 2).clamp(min=0).sqrt()


def cycle_error(
    engine: Engine, back: Engine, translated: Images, shown: HarmonisedVolume, done: Done
) -> Images:
    """How far the synthetic image is from itself after the way back and again, network units."""
    body = torch.from_numpy(shown.body)[:, None]
    air = -1.0 if engine.model.info.target == "ct" else translated.min()
    seen = torch.where(body, translated, torch.as_tensor(air, dtype=translated.dtype))
    returned = engine.run(back.run(seen, shown, done), shown, done)
    return (returned - translated).abs()


def smoothed_inside(
    values: NDArray[Any], body: NDArray[np.bool_], sigmas: Sequence[float]
) -> NDArray[np.float32]:
    """A Gaussian mean over the body alone; 0 outside."""
    inside = body.astype(np.float32)
    weights = ndimage.gaussian_filter(inside, sigmas, mode="constant")
    blurred = ndimage.gaussian_filter(values * inside, sigmas, mode="constant")
    return np.where(body, blurred / np.maximum(weights, 1e-6), 0).astype(np.float32)
