"""The look-up that a guided generator corrects: a cohort's HU by position and value of a pixel.

Positions are those of `atlas.positions`, found for all pixels of a slice from the conditions of a
network's input, in a fixed number of operations. The numbers are buffers, so they are kept with the
weights, and an exported graph contains the look-up.

Axes: B images, C input channels (`input_channels`), K known CTs, H rows, W columns.
"""

from math import sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.input_channels import DEPTH_REACH_MM, PixelSize
from cyclegan.nets.norm import at_least_fp32
from mrct.imaging.intensity import INVERTED_CENTRE, INVERTED_SLOPE

POSITION_BINS = (17, 24, 18)
"""Bins of depth (finer at the surface), of height, and of direction from front to back, with left
and right merged: those under which held-out CTs of two phantom cohorts were likeliest."""
NUM_MRI_BINS = 32
"""Bins of the root of an MRI value, from air to the upper end of its window."""
GUIDE_CHANNELS = 3
"""Guess, direction and root of the MRI value."""
LEAST_LEVEL = 1e-3
"""Share of the window below which the root of an MRI value is constant: its slope at 0 is
infinite."""

LEVEL_OF_VALUE: dict[Literal["plain", "inverted"], tuple[float, float]] = {
    "plain": (0.5, 0.5),
    "inverted": ((1 + INVERTED_CENTRE / INVERTED_SLOPE) / 2, -0.5 / INVERTED_SLOPE),
}
"""Offset and slope from the value of an MRI in a network to its share of the window, by contrast;
the body's median is at `MEDIAN_LEVEL` of it, as in the table's bins."""

LEAST_BODY_SHARE = 1e-6
"""Keeps the middle of a slice without a body finite."""

Input = Float[Tensor, "B C H W"]
Plane = Float[Tensor, "B 1 H W"]


class Guide(nn.Module):
    """Channels that tell a generator from MRI to CT what its cohort has at each pixel.

    All buffers are those of no cohort until `fill`.
    """

    guess: Tensor
    """CT in network units by bin of depth, height, direction and MRI value."""
    levels: Tensor
    """[offset, slope] of an MRI value's share of its window, linear in the network's value."""
    outermost_mm: Tensor
    """Depth of the outermost pixels, which are in the first bin."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("guess", torch.zeros(*POSITION_BINS, NUM_MRI_BINS))
        self.register_buffer("levels", torch.full((2,), 0.5))
        self.register_buffer("outermost_mm", torch.ones(()))

    @torch.no_grad()
    def fill(self, guess: Tensor, levels: tuple[float, float], outermost_mm: float) -> None:
        """Take the numbers of a cohort.

        Args:
            guess: CT in [-1, 1] by position and bin of the MRI value, in any shape.
            levels: Offset and slope of an MRI value's share of its window.
            outermost_mm: Depth of the outermost pixels.
        """
        self.guess.copy_(guess.view(self.guess.shape))
        self.levels.copy_(torch.tensor(levels))
        self.outermost_mm.fill_(outermost_mm)

    def forward(
        self, image: Input, known: Float[Tensor, "K 1 H W"] | None = None
    ) -> Float[Tensor, "B 3 H W"]:
        """Return guess, direction and root of the MRI value, all in [-1, 1].

        Args:
            image: Slices with neighbours and conditions.
            known: The CTs themselves, where the last images are CTs, of which there is nothing to
                look up.
        """
        seen = at_least_fp32(image)
        middle = seen.shape[1] // 2
        level = self.levels[0] + self.levels[1] * seen[:, middle : middle + 1]
        direction = half_turns(seen[:, :1])
        if known is None:
            guess = self.look_up(seen, direction, level)
        else:
            count = len(seen) - len(known)
            looked_up = self.look_up(seen[:count], direction[:count], level[:count])
            guess = torch.cat([looked_up, at_least_fp32(known)])
        root = level.clamp(LEAST_LEVEL, 1.0).sqrt()
        return torch.cat([guess, 2 * direction - 1, 2 * root - 1], dim=1)

    def look_up(self, image: Input, direction: Plane, level: Plane) -> Plane:
        """Return the guess for every pixel, -1 (air) outside the body."""
        num_depths, num_heights, num_directions = POSITION_BINS
        first, last = self.outermost_mm.sqrt(), sqrt(DEPTH_REACH_MM)
        depth = ((image[:, :1] + 1) * (DEPTH_REACH_MM / 2)).clamp(min=0.0).sqrt()
        places = (
            ((depth - first) / (last - first) * (num_depths - 1)).round(),
            (image[:, -1:] + 1) * (num_heights / 2),
            direction * num_directions,
            (level.detach().clamp(0.0, 1.0).sqrt() * (NUM_MRI_BINS - 1)).round(),
        )
        # Whole numbers are clamped: a value that is not finite becomes any of them.
        bins = [
            place.long().clamp(0, count - 1)
            for place, count in zip(places, self.guess.shape, strict=True)
        ]
        index = bins[0]
        for each, count in zip(bins[1:], self.guess.shape[1:], strict=True):
            index = index * count + each
        return torch.where(image[:, :1] > -1, self.guess.flatten()[index], -1.0)


def outermost_depth_mm(spacing_yx_mm: PixelSize) -> float:
    """Return the depth of the outermost pixels, where the first bin of depth begins."""
    return min(*spacing_yx_mm, DEPTH_REACH_MM / 2)


def half_turns(depth: Plane) -> Plane:
    """Return each pixel's direction from the middle of its slice's body: 0 is front, 1 is back.

    Nothing here names a device or a type of floating point, which an exported graph would keep; the
    coordinates are whole numbers, as CUDA has no deterministic sum of others.

    Args:
        depth: The condition, -1 outside the body.
    """
    y = torch.ones_like(depth[..., :1], dtype=torch.long).cumsum(2) - 1
    x = torch.ones_like(depth[:, :, :1], dtype=torch.long).cumsum(3) - 1
    mask = torch.ones_like(depth) * (depth > -1)
    share = mask.mean((2, 3), keepdim=True).clamp(min=LEAST_BODY_SHARE)
    middle_y, middle_x = ((mask * at).mean((2, 3), keepdim=True) / share for at in (y, x))
    return torch.atan2((x - middle_x).abs(), middle_y - y) / torch.pi
