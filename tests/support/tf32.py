"""TF32 without a GPU: convolutions and matrix products with their inputs rounded as there."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

aten = torch.ops.aten
TENSOR_CORE = {
    aten.convolution,
    aten.convolution_backward,
    aten.mm,
    aten.addmm,
    aten.bmm,
    aten.baddbmm,
    aten.mv,
}


class ConvolveInTF32(TorchDispatchMode):
    """Rounds what tensor cores would multiply; sums stay in fp32, also there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in TENSOR_CORE:
            args, kwargs = tree_map(to_tf32, (args, kwargs))
        return func(*args, **(kwargs or {}))


def to_tf32(value: object) -> object:
    """Round an fp32 tensor to the 10 bits of mantissa that TF32 has, to nearest."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    return ((value.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
