"""Deterministic training: steps that are bit-identical on machines of one kind.

`gradients.OrderedGradients` fixes the order of sums, so that this holds on any number of workers.
"""

import os

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.train.engine.state import TrainState


def make_deterministic(state: TrainState) -> None:
    """Select deterministic kernels and one thread, for the whole process.

    Sums inside a convolution depend on the number of threads, so only one is used.
    """
    # cuBLAS reads this on first use; without it torch raises.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    for pair in (state.generators, state.mean):
        replace_reflection(pair)


def replace_reflection(module: nn.Module) -> None:
    """Replace every reflection padding by `MirrorPad2d`; neither has weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReflectionPad2d):
            setattr(module, name, MirrorPad2d(child.padding[0]))
        else:
            replace_reflection(child)


class MirrorPad2d(nn.Module):
    """Reflection padding by flip and concatenation, which is deterministic.

    The backward of torch's own reflection padding adds in no fixed order on CUDA, and raises if
    deterministic algorithms are requested.
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Pad rows, then columns, by mirroring without repeating the border pixel."""
        p = self.padding
        # rows: [B, C, p + H + p, W], then columns alike
        image = torch.cat(
            [image[:, :, 1 : p + 1].flip(2), image, image[:, :, -p - 1 : -1].flip(2)], dim=2
        )
        return torch.cat(
            [image[..., 1 : p + 1].flip(3), image, image[..., -p - 1 : -1].flip(3)], dim=3
        )
