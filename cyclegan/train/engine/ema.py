"""The running mean of the translators' weights, which is validated, evaluated and exported."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def decay_at(step: int, decay: float) -> float:
    """The decay with a warm-up, so that the first random weights are soon forgotten.

    min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_mean(
    mean: nn.Module, module: nn.Module, *, decay: float, applied: Float[Tensor, ""]
) -> None:
    """Move the mean towards the module by 1 - decay; not at all where `applied` is 0."""
    means: list[Tensor] = list(mean.parameters())
    weights: list[Tensor] = list(module.parameters())
    steps = torch._foreach_sub(weights, means)
    torch._foreach_mul_(steps, (1 - decay) * applied)
    torch._foreach_add_(means, steps)
