"""A volume's slices through a network: stored voxels to images in [-1, 1], and images to values.

It knows neither files nor checkpoints: the network is any callable.
Axes: Z slices, C input channels, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.nets.input_channels import with_conditions
from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.intensity import Window, denormalise, invert_contrast, normalise, restore_contrast
from mrct.imaging.volume import Modality

Contrast = Literal["plain", "inverted"]
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """What a network may be shown of a volume beside its images (`nets.input_channels`)."""

    body: NDArray[Any]
    """Mask [z, y, x], 0 or 1."""
    height: NDArray[Any]
    """[z], each slice's relative height in the body, 0 to 1."""


@torch.inference_mode()
def translate_volume(
    network: Network,
    images: Float[Tensor, "Z C H W"],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    *,
    neighbours: int = 0,
    conditions: Conditions | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Float[Tensor, "Z 1 H W"]:
    """Send whole slices through `network`, a batch at a time; the result is fp32 on the CPU.

    Slices are never tiled: an InstanceNorm's output depends on all it sees. `device` is where the
    network is. The network runs in the precision that the caller's autocast gives it. Of
    `images` with one channel, it is shown each slice between its `neighbours` and `conditions`.
    Where it gives back all the slices that it is shown, each is the mean of what it became in
    every place among its neighbours. `done` hears how many slices each pass has finished.
    """
    total = len(images)
    result = torch.zeros(total, 1, *images.shape[2:])
    times = torch.zeros(total, 1, 1, 1)
    for z in torch.arange(total).split(batch_size):
        made = network(shown(images, z, neighbours, conditions, device)).float().cpu()
        reach = made.shape[1] // 2  # 0, or `neighbours` where all slices come back
        for offset in range(-reach, reach + 1):
            inside = (z + offset >= 0) & (z + offset < total)
            part = made[inside, reach + offset, None]
            result.index_add_(0, z[inside] + offset, part)
            times[z[inside] + offset] += 1
        done(len(z))
    return result if bool((times == 1).all()) else result / times


def shown(
    images: Float[Tensor, "Z C H W"],
    z: Int[Tensor, " B"],
    neighbours: int,
    conditions: Conditions | None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "B M H W"]:
    """The network's input for the slices `z`: their neighbours and conditions, on `device`.

    Beyond the ends of a volume its last slice is its own neighbour, as in training.
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
    return with_conditions(batch, mask.to(device), height.to(device))


def to_input(
    voxels: NDArray[Any], body: NDArray[Any], window: Window, modality: Modality, contrast: Contrast
) -> Float[Tensor, "Z 1 H W"]:
    """Stored voxels [z, y, x] as network images in [-1, 1].

    `window` is what becomes -1 and 1, in the unit of `voxels`. `body` (0 or 1, same shape) matters
    to an MRI shown in `inverted` contrast only.
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
    """Network images as voxel values [z, y, x]: HU for a CT, the unit of `window` for an MRI.

    The way back from `to_input`. What lies outside `body` is no statement of the network's: it
    becomes air in a CT (-1024 HU) and in an MRI of inverted contrast (the window's low end).
    Without `air_outside` a CT keeps what the network says there.
    """
    x = images[:, 0].cpu().numpy()
    if modality == "ct":
        values = denormalise(x, window)
        return np.where(body, values, np.float32(AIR_HU)) if air_outside else values
    if contrast == "inverted":
        x = restore_contrast(x, body.astype(np.float32))
    return np.asarray(denormalise(x, window), np.float32)


def best_device() -> torch.device:
    """The first CUDA device of this machine, or else its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
