"""The guard against updates that are not finite, without a sync between host and device."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Flag = Float[Tensor, ""]


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
