"""Gradients of a step: combining them over parts and workers, their norm, and clipping.

A part is a micro-batch, with its own forward and backward.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cyclegan.train.distributed import sum_in_order

Flag = Float[Tensor, ""]


class AccumulatedGradients:
    """Gradient accumulation; DDP averages over workers once, in the last part's backward."""

    @contextmanager
    def part(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Wrap the forward and backward of one part."""
        if isinstance(module, DistributedDataParallel) and not last:
            with module.no_sync():
                yield
        else:
            yield

    def finish(self, module: nn.Module) -> None:
        """Complete the gradient in the weights' `grad`, after the last part."""


class OrderedGradients(AccumulatedGradients):
    """Gradient sum in the order of the shards, bit-identical on any number of workers.

    Each shard is a part. The module is not wrapped in DDP.
    """

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    @contextmanager
    def part(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Store the part's gradient separately."""
        yield
        # part: [numbers of all weights]
        self.parts.append(torch.cat([gradient_of(p).flatten() for p in module.parameters()]))
        for weight in module.parameters():
            weight.grad = None

    def finish(self, module: nn.Module) -> None:
        """Sum the stored gradients of all workers."""
        weights = list(module.parameters())
        total = sum_in_order(self.parts).split([weight.numel() for weight in weights])
        for weight, piece in zip(weights, total, strict=True):
            # In the weight's memory layout: fused Adam iterates over raw memory.
            weight.grad = torch.empty_like(weight).copy_(piece.view(weight.shape))
        self.parts = []


def gradient_of(weight: nn.Parameter) -> Tensor:
    """Return the gradient of a weight, which must have one."""
    assert weight.grad is not None
    return weight.grad


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """Return the L2 norm of all gradients together, on the device.

    It is not finite if any gradient is not. Gradients are already summed over the workers, and a
    sum preserves non-finite values, so all workers get the same norm.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def not_finite(norm: Float[Tensor, ""]) -> Flag:
    """Return 1.0 if a norm is infinite or NaN, else 0.0.

    Fused Adam accepts it as `found_inf`, and then skips the update.
    """
    return 1.0 - norm.isfinite().float()


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], norm: Float[Tensor, ""], longest: float) -> None:
    """Scale the gradients to a norm of at most `longest` (Pascanu 2013, algorithm 1)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_mul_(gradients, (longest / (norm + 1e-6)).clamp(max=1.0))
