"""Two networks behind one forward, so that each optimizer has one DDP module and one gradient sync.

Axes: B batch, C channels of an input (`input_channels`), D channels of what a critic sees: one
slice and its conditions; H rows, W columns, S scales and P Q patch grid of the critic.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.discriminator import Critic
from cyclegan.nets.generator import Generator
from cyclegan.nets.input_channels import in_place_of

Input = Float[Tensor, "B C H W"]
Judged = Float[Tensor, "B D H W"]
Scores = Float[Tensor, "B S P Q"]


class Translated(NamedTuple):
    """What the translators make of one batch; all in [-1, 1]."""

    fake_mri: Tensor
    """CT as MRI, [B, D, H, W]: with the conditions of its source, as a critic sees it."""
    fake_ct: Tensor
    """MRI as CT, likewise."""
    same_mri: Tensor
    """MRI through to_mri, which should not change it, [B, 1, H, W]."""
    same_ct: Tensor
    """CT through to_ct, which should not change it, [B, 1, H, W]."""
    returned_mri: Tensor
    """MRI -> CT -> MRI, [B, 1, H, W]."""
    returned_ct: Tensor
    """CT -> MRI -> CT, [B, 1, H, W]."""


class Translators(nn.Module):
    """Both generators. InstanceNorm keeps no statistics over the batch, so passes may share one.

    With `neighbours` (2.5D) a generator sees the slices around the one that it translates. A fake
    is one slice, so on the way back it stands for its own neighbours: to translate them too would
    take a pass more for each and twice as many input slices. Slices differ little from the next,
    and the way back is trained with what it gets.
    """

    def __init__(self, to_ct: Generator, to_mri: Generator, *, neighbours: int = 0) -> None:
        super().__init__()
        self.to_ct = to_ct
        self.to_mri = to_mri
        self.neighbours = neighbours

    def forward(self, mri: Input, ct: Input) -> Translated:
        """All six passes of a CycleGAN step, in four calls."""
        fake_ct, same_ct = self.to_ct(torch.cat([mri, ct])).chunk(2)
        fake_mri, same_mri = self.to_mri(torch.cat([ct, mri])).chunk(2)
        return Translated(
            fake_mri=self.as_judged(ct, fake_mri),
            fake_ct=self.as_judged(mri, fake_ct),
            same_mri=same_mri,
            same_ct=same_ct,
            returned_mri=self.to_mri(self.as_input(mri, fake_ct)),
            returned_ct=self.to_ct(self.as_input(ct, fake_mri)),
        )

    def as_input(self, source: Input, image: Float[Tensor, "B 1 H W"]) -> Input:
        """A translated image as input of the way back."""
        num_slices = 2 * self.neighbours + 1
        return in_place_of(source, image.expand(-1, num_slices, -1, -1), self.neighbours)

    def as_judged(self, source: Input, image: Float[Tensor, "B 1 H W"]) -> Judged:
        """An image, real or fake, as a critic sees it: with the conditions of its source."""
        return in_place_of(source, image, self.neighbours)


class Critics(nn.Module):
    """Both critics."""

    def __init__(self, mri: Critic, ct: Critic) -> None:
        super().__init__()
        self.mri = mri
        self.ct = ct

    def forward(self, mri: Judged, ct: Judged) -> tuple[Scores, Scores]:
        """The logits of MRI images and of CT images."""
        return self.mri(mri), self.ct(ct)
