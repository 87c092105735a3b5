"""Generators that pytorch-CycleGAN-and-pix2pix has saved with torch, such as latest_net_G_A.pth.

Its ResNet generator (Zhu 2017) has the layers of `nets.generator.Generator` with transposed
upsampling in the same order, as `model.N` and, in the residual blocks, `model.N.conv_block.M`.
Its layout was taken from `models/networks.py` of that project.
"""

import io
import re
from typing import Any

import torch
from torch import Tensor

from cyclegan.config.config import GeneratorConfig
from cyclegan.errors import ConfigError
from mrct.storage.paths import StoragePath

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What InstanceNorm saved before torch 0.4, and does not use."""
_FIRST, _LAST = "layers.1.weight", r"layers\.\d+\.weight"


def read_torch_file(path: StoragePath) -> tuple[dict[str, Tensor], GeneratorConfig]:
    """Return the weights of a file by the names of `Generator`, and what generator it is.

    No code in the file runs: torch reads tensors and plain containers only.

    Raises:
        ConfigError: The file has something else, or a generator with colour images.
    """
    content = path.read_bytes()
    try:
        saved: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch raises for bytes that it did not write
        raise _refused(path, f"torch cannot read it ({type(error).__name__})") from error
    if not isinstance(saved, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in saved.items()
    ):
        raise _refused(path, "it has more than the tensors of one network")
    tensors = {
        renamed(name): value.float()
        for name, value in saved.items()
        if name.rpartition(".")[2] not in _STATISTICS
    }
    first = tensors.get(_FIRST)
    ends = [name for name in tensors if re.fullmatch(_LAST, name)]
    if first is None or first.ndim != 4:
        raise _refused(path, "it has no layer model.1.weight")
    if tensors[ends[-1]].ndim != 4:
        raise _refused(path, "its last layer is no convolution")
    channels = first.shape[1], tensors[ends[-1]].shape[0]
    if channels != (1, 1):
        raise _refused(path, f"its images have {channels[0]} and {channels[1]} channels, not one")
    blocks = {name.split(".")[1] for name in tensors if ".branch." in name}
    settings = GeneratorConfig(filters=first.shape[0], blocks=len(blocks), upsample="transposed")
    return tensors, settings


def renamed(name: str) -> str:
    """Return the name in `Generator` of one of that project's tensors.

    Examples:
        >>> renamed("model.10.conv_block.5.weight")
        'layers.10.branch.5.weight'
    """
    return re.sub(r"^model\.", "layers.", name).replace(".conv_block.", ".branch.")


def _refused(path: StoragePath, found: str) -> ConfigError:
    return ConfigError(
        f"train.init is {path}, which is no generator that this run can start from: {found}. Give "
        "a file like latest_net_G_A.pth of pytorch-CycleGAN-and-pix2pix, trained with --netG "
        "resnet_9blocks, --norm instance, --no_dropout, --input_nc 1 and --output_nc 1; or the "
        "folder of a model, a run or a checkpoint."
    )
