"""A torch network compiled for inference: all batches have one size, so one graph serves all."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.train.engine.compile import compile_obstacle


class Compiled:
    """Called like its network; the first batch of every slice size is compiled, for half a minute.

    A batch that is not full is filled up with copies of its last slice, which are dropped again.
    """

    def __init__(self, network: nn.Module, batch_size: int) -> None:
        self._network = torch.compile(network, dynamic=False)
        self._batch_size = batch_size

    def __call__(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Translate slices."""
        count = len(images)
        if 0 < count < self._batch_size:
            copies = images[-1:].expand(self._batch_size - count, *images.shape[1:])
            images = torch.cat([images, copies])
        translated: Tensor = self._network(images)[:count]
        return translated


def obstacle_to_compiling(device: str) -> str:
    """Why nothing can be compiled here; empty where it can."""
    found = compile_obstacle(torch.device(device))
    if not found:
        # A slice size that cannot be compiled, or one too many of them, runs eager.
        torch._dynamo.config.suppress_errors = True
    return found
