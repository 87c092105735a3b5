"""Networks from stored weights, which must be those of the network that a file claims."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def network_of(
    weights: Mapping[str, Tensor], build: Callable[[], Network], *, filters: int, blocks: int
) -> Network:
    """Return a network on the CPU with its stored weights.

    A settings file may claim any size, so a network is only built if its weights could be these.

    Args:
        weights: Weights by name.
        build: Makes the network as the settings describe it.
        filters: Channels of a generator's first layer by the settings.
        blocks: Residual blocks by the settings.

    Raises:
        ValueError: The weights are of another network, or not finite; the message is a clause.
    """
    # Of a 3x3 convolution from 2 f to 4 f channels, and of two from 4 f to 4 f in each block.
    least = (72 + 288 * blocks) * filters**2
    if least > sum(weight.numel() for weight in weights.values()):
        raise ValueError(f"{filters} filters and {blocks} blocks are more than it has weights for")
    network = build()
    expected = {name: _kind(weight) for name, weight in network.state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        found = _kind(weights[name]) if name in weights else "missing"
        if found != (wanted := expected.get(name, "absent")):
            raise ValueError(f"{name} is {found}, and must be {wanted}")
        if not torch.isfinite(weights[name]).all():
            raise ValueError(f"{name} has values that are not finite")
    network.load_state_dict(weights)
    return network


def _kind(weight: Tensor) -> str:
    return f"{str(weight.dtype).removeprefix('torch.')} of {tuple(weight.shape)}"
