"""The guard against updates that are not finite, without a sync between host and device."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Flag = Float[Tensor, ""]


@torch.no_grad()
def not_finite(parameters: Iterable[nn.Parameter]) -> Flag:
    """1.0 when any gradient holds an infinity or a NaN, else 0.0, on the device.

    Gradients are already summed over the workers, and a sum keeps what is not finite, so all
    workers get the same flag. Fused Adam takes it as `found_inf` and then changes nothing.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    return 1.0 - norms.isfinite().all().float()
