"""Training state: everything that a step changes, and therefore all that a checkpoint contains."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cyclegan.config.config import Config
from cyclegan.config.files import json_settings
from cyclegan.data.philox import Stream
from cyclegan.errors import require
from cyclegan.nets.discriminator import SMALLEST_IMAGE, Discriminator
from cyclegan.nets.guide import LEVEL_OF_VALUE
from cyclegan.nets.guided_generator import generator_of
from cyclegan.nets.network_pairs import Discriminators, Draw, Generators
from cyclegan.train.engine.replay_pool import ReplayPools


def build_generators(config: Config) -> Generators:
    """Build both generators, newly initialised, on the CPU."""
    channels = config.data.channels + config.data.num_conditions
    to_ct, to_mri = (
        generator_of(in_channels=channels, **asdict(replace(config.generator, guide=guide)))
        for guide in (config.generator.guide, "none")
    )
    offset, slope = LEVEL_OF_VALUE[config.data.mri_contrast]
    draw = Draw(
        noise=config.loss.draw_noise,
        gradient=config.loss.draw_gradient,
        offset=offset,
        slope=slope,
    )
    return Generators(to_ct=to_ct, to_mri=to_mri, neighbours=config.data.neighbours, draw=draw)


def build_discriminators(config: Config) -> Discriminators:
    """Build both discriminators, newly initialised, on the CPU."""
    mri, ct = (
        Discriminator(
            in_channels=1 + config.data.num_conditions,
            filters=config.discriminator.filters,
            norm=config.discriminator.norm,
            spectral=config.discriminator.spectral,
            scales=config.discriminator.scales,
        )
        for _ in range(2)
    )
    return Discriminators(mri=mri, ct=ct)


@dataclass(kw_only=True, slots=True)
class TrainState:
    """Networks without compile or DDP wrappers, optimizers, pools and counters of a run."""

    generators: Generators
    discriminators: Discriminators
    mean: Generators
    """Exponential moving average of the generators."""
    generator_optimizer: torch.optim.Adam
    discriminator_optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    mri_pool: ReplayPools
    ct_pool: ReplayPools
    skipped: Tensor
    """Number of steps with a skipped, non-finite update; stays on the device."""
    streak: Tensor
    """Number of consecutive such steps up to now; stays on the device."""
    rollbacks: int = 0
    """Returns to an earlier checkpoint so far; each halves the learning rates."""
    step: int = 0
    """Optimizer steps done."""
    warmup_steps: int = 0
    """Steps of the run, from its first one, in which only the discriminators learn."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that determine the results, as JSON values by dotted name. Each checkpoint has
    them, so that its networks are never run under other ones."""
    contrast_table: str = ""
    """SHA-256 of the run's contrast table; empty without one. Checkpoints name it."""


def build_state(
    config: Config,
    *,
    size: tuple[int, int],
    shards: range,
    device: torch.device,
    layout: torch.memory_format = torch.contiguous_format,
    fp16: bool = False,
) -> TrainState:
    """Build the state at step 0. The same seed gives the same weights on every worker and device.

    Args:
        config: Configuration of the run.
        size: Slice size (H, W) in pixels.
        shards: Logical shards of this worker.
        device: Device of the networks.
        layout: Memory layout of the weights.
        fp16: Whether to scale losses for fp16.

    Raises:
        ConfigError: The slices are too small for `discriminator.scales`.
    """
    coarsest = min(size) // 2 ** (config.discriminator.scales - 1)
    require(
        coarsest >= SMALLEST_IMAGE,
        f"discriminator.scales is {config.discriminator.scales}, so the last discriminator would "
        f"see slices of "
        f"{size} at {coarsest} pixels; it needs {SMALLEST_IMAGE}. Lower --discriminator.scales, or "
        f"use a "
        "store with larger slices.",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        generators = build_generators(config)
        discriminators = build_discriminators(config)
    for module in (generators, discriminators):
        module.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    mean = copy.deepcopy(generators).requires_grad_(False).eval()
    betas = (config.optimizer.beta1, config.optimizer.beta2)

    def adam(module: nn.Module, rate: float) -> torch.optim.Adam:
        optimizer = torch.optim.Adam(module.parameters(), lr=rate, betas=betas, fused=True)
        # A number would stay as it is in a CUDA graph. The kernels differ in the type they read.
        dtype = torch.float32 if device.type == "cuda" else torch.float64
        optimizer.param_groups[0]["lr"] = torch.tensor(rate, dtype=dtype, device=device)
        return optimizer

    mri_pool, ct_pool = (
        ReplayPools(
            shards=shards,
            shard_size=config.batch.shard_size,
            capacity=config.train.pool_size,
            size=size,
            seed=config.run.seed,
            stream=stream,
            device=device,
            channels=1 + config.data.num_conditions,
        )
        for stream in (Stream.MRI_REPLAY, Stream.CT_REPLAY)
    )
    return TrainState(
        generators=generators,
        discriminators=discriminators,
        mean=mean,
        generator_optimizer=adam(generators, config.optimizer.learning_rate),
        discriminator_optimizer=adam(discriminators, config.optimizer.discriminator_learning_rate),
        scaler=torch.amp.GradScaler(device.type, enabled=fp16),
        mri_pool=mri_pool,
        ct_pool=ct_pool,
        skipped=torch.zeros((), device=device),
        streak=torch.zeros((), device=device),
        settings=json_settings(config),
    )


def num_parameters(module: nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def decay_at(step: int, decay: float) -> float:
    """Return the decay of the moving average at a step, with a warm-up.

    min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage, so that the initial
    random weights soon lose their influence.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_mean(mean: nn.Module, module: nn.Module, rate: Float[Tensor, ""]) -> None:
    """Move the average by a share of the way towards the module: 1 - decay, or 0."""
    means: list[Tensor] = list(mean.parameters())
    weights: list[Tensor] = list(module.parameters())
    steps = torch._foreach_sub(weights, means)
    torch._foreach_mul_(steps, rate)
    torch._foreach_add_(means, steps)
