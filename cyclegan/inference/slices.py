"""Translation of a volume slice by slice: stored voxels to images in [-1, 1], and back to values.

The network is any callable. Axes: Z slices, C input channels, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.nets.input_channels import PixelSize, with_conditions
from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.intensity import Window, denormalise, invert_contrast, normalise, restore_contrast
from mrct.imaging.modality import Modality

Contrast = Literal["plain", "inverted"]
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """Condition inputs of a volume (`nets.input_channels`)."""

    body: NDArray[Any]
    """Body mask [z, y, x], 0 or 1."""
    height: NDArray[Any]
    """[z], height of each slice in the body, 0 to 1."""
    spacing_yx_mm: PixelSize
    """Size of a pixel."""


@torch.inference_mode()
def translate_volume(
    network: Network,
    images: Float[Tensor, "Z C H W"],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    *,
    neighbours: int = 0,
    conditions: Conditions | None = None,
    wanted: Bool[Tensor, " Z"] | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Float[Tensor, "Z 1 H W"]:
    """Translate whole slices, a batch at a time.

    Slices are never tiled, because the output of InstanceNorm depends on the whole slice. The
    network runs in the precision of the caller's autocast. If it returns all the slices of its
    input, each result is the mean over its positions among its neighbours.

    Args:
        network: Callable from inputs [B, M, H, W] to slices [B, 1 or 2 x neighbours + 1, H, W].
        images: Slices in [-1, 1]; C is 1 with `neighbours`.
        batch_size: Slices per call.
        device: Device of the network.
        neighbours: Neighbouring slices on each side in an input.
        conditions: Condition inputs of the volume, if the network expects them.
        wanted: Which slices to translate; all by default.
        done: Called after each batch with its number of wanted slices.

    Returns:
        Translated slices in fp32, on the CPU; those that are not wanted have no meaning.
    """
    total = len(images)
    wanted = torch.ones(total, dtype=torch.bool) if wanted is None else wanted
    offsets = torch.arange(-neighbours, neighbours + 1)
    # A slice is among the results of its neighbours.
    needed = (wanted.nonzero() + offsets).clamp(0, total - 1).unique()
    result = torch.zeros(total, 1, *images.shape[2:])
    times = torch.zeros(total, 1, 1, 1)
    for z in needed.split(batch_size):
        made = network(input_slices(images, z, neighbours, conditions, device)).float().cpu()
        reach = made.shape[1] // 2  # 0, or `neighbours` where all slices come back
        for offset in range(-reach, reach + 1):
            inside = (z + offset >= 0) & (z + offset < total)
            part = made[inside, reach + offset, None]
            result.index_add_(0, z[inside] + offset, part)
            times[z[inside] + offset] += 1
        done(int(wanted[z].sum()))
    return result if bool((times <= 1).all()) else result / times.clamp(min=1)


def input_slices(
    images: Float[Tensor, "Z C H W"],
    z: Int[Tensor, " B"],
    neighbours: int,
    conditions: Conditions | None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "B M H W"]:
    """Return the network's input for the slices `z`, with neighbours and conditions, on `device`.

    Beyond the ends of a volume the end slice is repeated, as in training.
    """
    if neighbours:
        around = z[:, None] + torch.arange(-neighbours, neighbours + 1)
        batch = images[around.clamp(0, len(images) - 1), 0]
    else:
        batch = images[z]
    batch = batch.to(device)
    if conditions is None:
        return batch
    mask = torch.from_numpy(conditions.body[z.numpy()].astype(np.float32))[:, None]
    height = torch.from_numpy(conditions.height[z.numpy()].astype(np.float32))
    return with_conditions(batch, mask.to(device), height.to(device), conditions.spacing_yx_mm)


def to_input(
    voxels: NDArray[Any], body: NDArray[Any], window: Window, modality: Modality, contrast: Contrast
) -> Float[Tensor, "Z 1 H W"]:
    """Convert stored voxels to network images in [-1, 1].

    Args:
        voxels: Stored values [z, y, x].
        body: Body mask [z, y, x], 0 or 1; used for an MRI in `inverted` contrast only.
        window: Values that become -1 and 1, in the unit of `voxels`.
        modality: Modality of the volume.
        contrast: Contrast in which the network sees an MRI.
    """
    x = normalise(voxels.astype(np.float32), window)
    if modality == "mri" and contrast == "inverted":
        x = invert_contrast(x, body.astype(np.float32))
    # images: [Z, 1, H, W]
    return torch.from_numpy(x[:, None])


def to_values(
    images: Float[Tensor, "Z 1 H W"],
    body: NDArray[Any],
    window: Window,
    modality: Modality,
    contrast: Contrast,
    *,
    air_outside: bool = True,
) -> NDArray[np.float32]:
    """Convert network images to voxel values; the inverse of `to_input`.

    Args:
        images: Images in [-1, 1].
        body: Body mask [z, y, x], 0 or 1. Outside of it the network's values are discarded: a CT
            becomes air (-1024 HU), and an MRI of inverted contrast the window's low end.
        window: Values of -1 and 1.
        modality: Modality of the images.
        contrast: Contrast in which the network sees an MRI.
        air_outside: Whether a CT becomes air outside the body; otherwise it keeps the network's
            values there.

    Returns:
        Values [z, y, x]: HU for a CT, the unit of `window` for an MRI.
    """
    x = images[:, 0].cpu().numpy()
    if modality == "ct":
        values = denormalise(x, window)
        return np.where(body, values, np.float32(AIR_HU)) if air_outside else values
    if contrast == "inverted":
        x = restore_contrast(x, body.astype(np.float32))
    return np.asarray(denormalise(x, window), np.float32)


def best_device() -> torch.device:
    """Return the first CUDA device of this machine, or its CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
