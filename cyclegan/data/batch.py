"""Batch of one worker for one step.

Axes: B slice pairs, C channels (`nets.input_channels`: neighbouring slices, the sample's own in the
middle, and conditions if the configuration has them), H rows, W columns.
Row 0 is anterior, column 0 the patient's right.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from cyclegan.nets.input_channels import PixelSize


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """B unpaired slices of each domain, on the device of the step.

    A stream of batches is an iterator that never ends: the number of steps follows from the config,
    so no worker can run out before the others.
    """

    mri: Float[Tensor, "B C H W"]
    """MRI slices in [-1, 1], in the contrast given by `data.mri_contrast`."""
    ct: Float[Tensor, "B C H W"]
    """CT slices in [-1, 1]: -1 is -1024 HU and 1 is 3071 HU."""
    mri_body: Float[Tensor, "B 1 H W"]
    """Body mask of the MRI: 1 inside, 0 outside."""
    ct_body: Float[Tensor, "B 1 H W"]
    """Body mask of the CT: 1 inside, 0 outside."""
    companion: Float[Tensor, "B 1 H W"] | None = None
    """CTs on the grid of the MRI slices and augmented as these are, in [-1, 1]; None in a run
    without."""
    trust: Float[Tensor, "B 2 H W"] | None = None
    """How far each pixel of a companion is trusted, first if it is of a true pair, then if it was
    warped onto the MRI: on average over all companions of an MRI at most 1. Each companion is of
    one kind, and 0 in the other channel; a slice without one is 0 in both."""
    noise: Float[Tensor, "B 1 H W"] | None = None
    """Noise for MRIs drawn from the CTs, of standard deviation 1, white and in patches; None in a
    run without."""
    pixel_mm: PixelSize
    """Height and width of a pixel."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The images and masks by name, those that there are."""
        names = (each.name for each in fields(self) if each.name != "pixel_mm")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with the same change applied to each tensor."""
        changed: dict[str, Any] = {name: change(tensor) for name, tensor in self.tensors.items()}
        return replace(self, **changed)

    @property
    def middle_mri(self) -> Float[Tensor, "B 1 H W"]:
        """The MRI slices without their neighbours."""
        return middle_slice(self.mri)

    @property
    def middle_ct(self) -> Float[Tensor, "B 1 H W"]:
        """The CT slices without their neighbours."""
        return middle_slice(self.ct)


def middle_slice(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """Return the middle channel, which is the slice itself, as a view.

    Args:
        images: Images with an odd number of channels, as in a `Batch`.

    Examples:
        >>> import torch
        >>> middle_slice(torch.zeros(8, 5, 64, 64)).shape
        torch.Size([8, 1, 64, 64])
    """
    middle = images.shape[1] // 2
    return images[:, middle : middle + 1]
