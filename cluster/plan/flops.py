"""Count the FLOP and the gradient bytes of a training step on the meta device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cyclegan.config.config import Config
from cyclegan.train.engine.state import build_discriminators, build_generators, num_parameters

FP32_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeCost:
    """The FLOP and gradient bytes of a step."""

    flop_per_pair: float
    """FLOP of convolutions, forward and backward, as torch's FlopCounterMode counts them."""
    generator_backward: float
    """Share of it in the backward pass of the generators' update."""
    discriminator_backward: float
    """Share of it in the backward pass of the discriminators' update."""
    flop_per_translation: float
    """FLOP of one slice through one generator."""
    generator_bytes: int
    """Gradients that workers exchange for the generators' optimizer."""
    discriminator_bytes: int
    """Gradients that workers exchange for the discriminators' optimizer."""


def compute_cost_of(config: Config, size: tuple[int, int]) -> ComputeCost:
    """Count a step on one pair of slices [rows, columns], on the meta device, which computes shapes
    only."""
    with torch.device("meta"):
        generators, discriminators = build_generators(config), build_discriminators(config)
        channels = config.data.channels + config.data.num_conditions
        image = torch.zeros((1, channels, *size))
    with FlopCounterMode(display=False) as step:
        made = generators(image, image)
        discriminators.requires_grad_(False)
        judged = discriminators(made.fake_mri, made.fake_ct)
        generator_flop = descend(step, *judged, *(each for each in made if each is not None))
        discriminators.requires_grad_(True)
        seen = torch.cat([made.fake_mri, made.fake_ct]).detach()  # real and fake share a forward
        discriminator_flop = descend(step, *discriminators(seen, seen))
    in_all = step.get_total_flops()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        generators.to_ct(image)
    return ComputeCost(
        flop_per_pair=in_all,
        generator_backward=generator_flop / in_all,
        discriminator_backward=discriminator_flop / in_all,
        flop_per_translation=forward.get_total_flops(),
        generator_bytes=FP32_BYTES * num_parameters(generators),
        discriminator_bytes=FP32_BYTES * num_parameters(discriminators),
    )


def descend(counter: FlopCounterMode, *outputs: Tensor) -> int:
    """Run backward through all tensors, and return its FLOP."""
    before = counter.get_total_flops()
    torch.stack([each.sum() for each in outputs]).sum().backward()
    return counter.get_total_flops() - before
