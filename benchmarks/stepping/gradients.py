"""Whether both sides take the same step: gradients from the same weights and batch, early and late
in training. Curves of a GAN diverge, gradients of one step do not.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.stepping.sides import StepSide, batch_of
from cyclegan.data.batch import Batch

TOLERANCE = 1e-6
"""Relative difference of all gradients of a pair of networks in fp64, in the L2 norm."""


def differences(sides: dict[str, StepSide], size: int, steps: list[int]) -> list[dict[str, Any]]:
    """Train ours in bf16; at the given steps compare all gradients from its weights.

    The truth is the usual side in fp64. A ReLU near 0 turns rounding into a step of its gradient,
    so a lower precision keeps to the truth by the root of its rounding only, on either side.
    """
    trained, rows = sides["ours bf16"], []
    for number in range(steps[-1] + 1):
        batch = batch_of(number, size)
        if number not in steps:
            trained.step(batch)
            continue
        weights = {name: copy.deepcopy(network.state_dict()) for name, network in pairs(trained)}
        found = {name: gradients(side, weights, batch) for name, side in sides.items()}
        for network, truth in found.pop("usual fp64").items():
            errors = {
                name: ((each[network] - truth).norm() / truth.norm()).item()
                for name, each in found.items()
            }
            rows.append({"step": number, "networks": network} | errors)
    return rows


def pairs(side: StepSide) -> list[tuple[str, nn.Module]]:
    return [("generators", side.state.generators), ("discriminators", side.state.discriminators)]


def gradients(side: StepSide, weights: dict[str, Any], batch: Batch) -> dict[str, Tensor]:
    """Of one step from the given weights; all of a pair of networks together.

    Not one by one: a bias before an InstanceNorm has no gradient but rounding.
    """
    for name, network in pairs(side):
        network.load_state_dict(weights[name])
    dtype = next(side.state.generators.parameters()).dtype
    side.step(batch.mapped(lambda tensor: tensor.to(dtype)))
    return {
        name: torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        for name, network in pairs(side)
    }
