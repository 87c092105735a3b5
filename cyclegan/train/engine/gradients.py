"""How the gradients of a step's parts become one gradient, over parts and over workers.

A part is a micro-batch: it has a forward and a backward of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cyclegan.train.distributed import sum_in_order


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
