"""Two networks behind one forward, so that each optimizer has one DDP module and one gradient sync.

Axes: B batch, C neighbouring slices, H rows, W columns, P Q patch grid of the critic.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.critic import Critic
from cyclegan.nets.generator import Generator

Slices = Float[Tensor, "B C H W"]
Image = Float[Tensor, "B 1 H W"]
Scores = Float[Tensor, "B 1 P Q"]


class Translated(NamedTuple):
    """What the translators make of one batch; all [B, 1, H, W] in [-1, 1]."""

    fake_mri: Tensor
    """CT as MRI."""
    fake_ct: Tensor
    """MRI as CT."""
    same_mri: Tensor
    """MRI through to_mri, which should not change it."""
    same_ct: Tensor
    """CT through to_ct, which should not change it."""
    returned_mri: Tensor
    """MRI -> CT -> MRI."""
    returned_ct: Tensor
    """CT -> MRI -> CT."""


class Translators(nn.Module):
    """Both generators. InstanceNorm keeps no statistics over the batch, so passes may share one."""

    def __init__(self, to_ct: Generator, to_mri: Generator) -> None:
        super().__init__()
        self.to_ct = to_ct
        self.to_mri = to_mri

    def forward(self, mri: Slices, ct: Slices) -> Translated:
        """All six passes of a CycleGAN step, in four calls.

        A fake has no neighbours yet: on the way back it stands for them itself.
        """
        neighbours = (-1, mri.shape[1], -1, -1)
        fake_ct, same_ct = self.to_ct(torch.cat([mri, ct])).chunk(2)
        fake_mri, same_mri = self.to_mri(torch.cat([ct, mri])).chunk(2)
        return Translated(
            fake_mri=fake_mri,
            fake_ct=fake_ct,
            same_mri=same_mri,
            same_ct=same_ct,
            returned_mri=self.to_mri(fake_ct.expand(neighbours)),
            returned_ct=self.to_ct(fake_mri.expand(neighbours)),
        )


class Critics(nn.Module):
    """Both critics."""

    def __init__(self, mri: Critic, ct: Critic) -> None:
        super().__init__()
        self.mri = mri
        self.ct = ct

    def forward(self, mri: Image, ct: Image) -> tuple[Scores, Scores]:
        """The logits of MRI images and of CT images."""
        return self.mri(mri), self.ct(ct)
