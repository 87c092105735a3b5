"""A volume's slices through a network: stored voxels to images in [-1, 1], and images to values.

It knows neither files nor checkpoints: the network is any callable.
Axes: Z slices, C input channels, H rows, W columns.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from data_prep.intensity import (
    WINDOW_HU,
    Window,
    denormalise,
    invert_contrast,
    normalise,
    restore_contrast,
)
from data_prep.volume import Modality

Contrast = Literal["plain", "inverted"]
Network = Callable[[Tensor], Tensor]
AIR_HU = WINDOW_HU[0]


@torch.inference_mode()
def translate_volume(
    network: Network,
    images: Float[Tensor, "Z C H W"],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "Z 1 H W"]:
    """Send whole slices through `network`, a batch at a time; the result is fp32 on the CPU.

    Slices are never tiled: an InstanceNorm's output depends on all it sees. `device` is where the
    network is. The network runs in the precision that the caller's autocast gives it.
    """
    return torch.cat(
        [network(batch.to(device)).float().cpu() for batch in images.split(batch_size)]
    )


def with_neighbours(images: Float[Tensor, "Z 1 H W"], neighbours: int) -> Float[Tensor, "Z C H W"]:
    """Each slice between its `neighbours` below and above; C = 2 x `neighbours` + 1.

    Beyond the ends of a volume its last slice is its own neighbour, as in training.
    """
    z = torch.arange(len(images))[:, None] + torch.arange(-neighbours, neighbours + 1)
    return images[z.clamp(0, len(images) - 1), 0]


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
) -> NDArray[np.float32]:
    """Network images as voxel values [z, y, x]: HU for a CT, the unit of `window` for an MRI.

    The way back from `to_input`. What lies outside `body` is no statement of the network's: it
    becomes air in a CT (-1024 HU) and in an MRI of inverted contrast (the window's low end).
    """
    x = images[:, 0].cpu().numpy()
    if modality == "ct":
        return np.where(body, denormalise(x, window), np.float32(AIR_HU)).astype(np.float32)
    if contrast == "inverted":
        x = restore_contrast(x, body.astype(np.float32))
    return np.asarray(denormalise(x, window), np.float32)
