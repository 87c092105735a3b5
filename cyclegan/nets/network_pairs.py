"""Pairs of networks with one forward, so that each optimizer has one DDP module and gradient sync.

Axes: B batch, C channels of a generator's input (`input_channels`), D channels of a discriminator's
input: one slice and its conditions; H rows, W columns, S scales and P Q patch grid of the
discriminator.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.nets.discriminator import Discriminator
from cyclegan.nets.generator import Generator
from cyclegan.nets.guide import LEAST_LEVEL
from cyclegan.nets.guided_generator import GuidedGenerator
from cyclegan.nets.input_channels import replace_slices
from cyclegan.nets.norm import at_least_fp32

Input = Float[Tensor, "B C H W"]
Judged = Float[Tensor, "B D H W"]
Scores = Float[Tensor, "B S P Q"]

DRAW_SPREAD = 0.08
"""Unit of the noise: how much MRI values of one HU vary, in the root of their share of the window
(the width of the bells in the study that `docs/recipe.md` names)."""


class Translated(NamedTuple):
    """Outputs of both generators for one batch, in [-1, 1]."""

    fake_mri: Tensor
    """CT -> MRI with the conditions of its source, [B, D, H, W]: the discriminator's input."""
    fake_ct: Tensor
    """MRI -> CT with the conditions of its source, [B, D, H, W]: the discriminator's input."""
    same_mri: Tensor
    """MRI through to_mri, which should not change it, [B, 1, H, W]."""
    same_ct: Tensor
    """CT through to_ct, which should not change it, [B, 1, H, W]."""
    returned_mri: Tensor
    """MRI -> CT -> MRI, [B, 1, H, W]."""
    returned_ct: Tensor
    """CT -> MRI -> CT, [B, 1, H, W]."""
    companion_mri: Tensor | None = None
    """MRI drawn from the companions of the MRIs, [B, 1, H, W]; None in a run without."""

    def detached(self) -> "Translated":
        """Return the images without their graph."""
        return Translated._make(each if each is None else each.detach() for each in self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What happens to an MRI drawn from a CT before it is translated back."""

    noise: float = 0.0
    """Factor of the noise, in units of DRAW_SPREAD."""
    gradient: bool = True
    """Whether the translation back also trains the generator that drew it."""
    offset: float = 0.5
    slope: float = 0.5
    """An MRI value's share of its window is linear in the network's value, as in `Guide`."""

    def varied(
        self, drawn: Float[Tensor, "B 1 H W"], noise: Float[Tensor, "B 1 H W"] | None
    ) -> Float[Tensor, "B 1 H W"]:
        """Return the drawn MRIs with noise in the root of their share of the window."""
        if not self.gradient:
            drawn = drawn.detach()
        if noise is None:
            return drawn
        level = self.offset + self.slope * at_least_fp32(drawn)
        root = level.clamp(LEAST_LEVEL, 1.0).sqrt() + (self.noise * DRAW_SPREAD) * noise
        return (root.clamp(0.0, 1.0).square() - self.offset) / self.slope


class Generators(nn.Module):
    """Both generators. InstanceNorm keeps no statistics over the batch, so passes can be batched.

    With `neighbours` (2.5D), a generator sees the slices around the one that it translates. A fake
    is a single slice, so in the translation back it is repeated in place of its neighbours:
    translating them too would take another pass for each and twice as many input slices. Adjacent
    slices differ little, and the translation back is trained with such inputs.

    Args:
        to_ct: Generator from MRI to CT.
        to_mri: Generator from CT to MRI.
        neighbours: Slices on each side of the translated one in an input.
        draw: How an MRI that is drawn from a CT differs before it is translated back.

    Examples:
        >>> small = {"in_channels": 3, "filters": 8, "blocks": 1}
        >>> generators = Generators(Generator(**small), Generator(**small), neighbours=1)
        >>> mri = ct = torch.zeros(2, 3, 64, 64)
        >>> generators(mri, ct).returned_mri.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        to_ct: Generator,
        to_mri: Generator,
        *,
        neighbours: int = 0,
        draw: Draw = Draw(),
    ) -> None:
        super().__init__()
        self.draw = draw
        self.to_ct = to_ct
        self.to_mri = to_mri
        self.neighbours = neighbours

    def forward(
        self,
        mri: Input,
        ct: Input,
        companion: Float[Tensor, "B 1 H W"] | None = None,
        noise: Float[Tensor, "B 1 H W"] | None = None,
    ) -> Translated:
        """Run all six passes of a CycleGAN step, and that of the companions, in four calls.

        Args:
            mri: MRI slices in [-1, 1] with neighbours and conditions.
            ct: CT slices in [-1, 1] with neighbours and conditions.
            companion: CTs on the grid of the MRI slices, in [-1, 1].
            noise: Noise for the MRIs drawn from the CTs.
        """
        fake_ct, same_ct = self.cts_of(mri, ct).chunk(2)
        to_draw = [ct, mri] if companion is None else [ct, mri, self.as_input(mri, companion)]
        fake_mri, same_mri, *others = self.to_mri(torch.cat(to_draw)).chunk(len(to_draw))
        return Translated(
            fake_mri=self.as_judged(ct, fake_mri),
            fake_ct=self.as_judged(mri, fake_ct),
            same_mri=same_mri,
            same_ct=same_ct,
            returned_mri=self.to_mri(self.as_input(mri, fake_ct)),
            returned_ct=self.to_ct(self.as_input(ct, self.draw.varied(fake_mri, noise))),
            companion_mri=others[0] if others else None,
        )

    def cts_of(self, mri: Input, ct: Input) -> Float[Tensor, "B2 1 H W"]:
        """Translate MRIs to CTs, and CTs to themselves, B2 = 2 B."""
        images = torch.cat([mri, ct])
        if isinstance(self.to_ct, GuidedGenerator):
            middle = ct.shape[1] // 2
            guided: Tensor = self.to_ct(images, known=ct[:, middle : middle + 1])
            return guided
        plain: Tensor = self.to_ct(images)
        return plain

    def as_input(self, source: Input, image: Float[Tensor, "B 1 H W"]) -> Input:
        """Build the input for translating an image back, from its source's conditions.

        Args:
            source: Input that the image was translated from.
            image: Translated slices in [-1, 1], each repeated in place of its neighbours.
        """
        num_slices = 2 * self.neighbours + 1
        return replace_slices(source, image.expand(-1, num_slices, -1, -1), self.neighbours)

    def as_judged(self, source: Input, image: Float[Tensor, "B 1 H W"]) -> Judged:
        """Build a discriminator's input: an image, real or fake, with its source's conditions.

        Args:
            source: Input that the image was translated from; for a real image its own.
            image: Slices in [-1, 1].
        """
        return replace_slices(source, image, self.neighbours)


class Discriminators(nn.Module):
    """Both discriminators.

    Args:
        mri: Discriminator of real MRIs from translated ones.
        ct: Discriminator of real CTs from translated ones.
    """

    def __init__(self, mri: Discriminator, ct: Discriminator) -> None:
        super().__init__()
        self.mri = mri
        self.ct = ct

    def forward(self, mri: Judged, ct: Judged) -> tuple[Scores, Scores]:
        """Return the logits of the MRI images and of the CT images (`Discriminator.forward`).

        Args:
            mri: Real or translated MRI slices in [-1, 1] with the conditions of their sources.
            ct: Real or translated CT slices in [-1, 1] with the conditions of their sources.
        """
        return self.mri(mri), self.ct(ct)
