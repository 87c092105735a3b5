"""How the gradients of a step's parts become one gradient, over parts and over workers.

A part is a micro-batch: it has a forward and a backward of its own.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cyclegan.train.distributed import sum_in_order

Flag = Float[Tensor, ""]


class Accumulated:
    """Added up as they come; DDP takes the mean over workers once, in the last part's backward."""

    @contextmanager
    def part(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Around forward and backward of one part."""
        if isinstance(module, DistributedDataParallel) and not last:
            with module.no_sync():
                yield
        else:
            yield

    def finish(self, module: nn.Module) -> None:
        """After the last part: leave the whole gradient in the weights' `grad`."""


class InOrder(Accumulated):
    """Added in the order of the shards, each of which is a part: the same bits on any number of
    workers. The module is bare, without DDP."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    @contextmanager
    def part(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Keep the part's gradient apart."""
        yield
        # part: [numbers of all weights]
        self.parts.append(torch.cat([gradient_of(p).flatten() for p in module.parameters()]))
        for weight in module.parameters():
            weight.grad = None

    def finish(self, module: nn.Module) -> None:
        """Add up what all workers kept."""
        weights = list(module.parameters())
        total = sum_in_order(self.parts).split([weight.numel() for weight in weights])
        for weight, piece in zip(weights, total, strict=True):
            # In the weight's own layout, which fused Adam walks through.
            weight.grad = torch.empty_like(weight).copy_(piece.view(weight.shape))
        self.parts = []


def gradient_of(weight: nn.Parameter) -> Tensor:
    """What a backward left for a weight."""
    assert weight.grad is not None
    return weight.grad


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """L2 norm over all gradients together, on the device. Not finite as soon as one number is not.

    Gradients are already summed over the workers, and a sum keeps what is not finite, so all
    workers get the same norm.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def not_finite(norm: Float[Tensor, ""]) -> Flag:
    """1.0 when a norm is infinite or NaN, else 0.0. Fused Adam takes it as `found_inf` and then
    changes nothing."""
    return 1.0 - norm.isfinite().float()


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], norm: Float[Tensor, ""], longest: float) -> None:
    """Shorten the gradients to a norm of at most `longest` (Pascanu 2013, algorithm 1)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_mul_(gradients, (longest / (norm + 1e-6)).clamp(max=1.0))
