"""Training plan: the numbers of a run that follow from config and store, before the first step."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from cyclegan.config.config import Config
from cyclegan.data.stream import steps_per_epoch
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import num_parts
from cyclegan.train.engine.state import build_discriminators, build_generators, num_parameters
from data_prep.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """The derived numbers of a run."""

    steps_per_epoch: int
    total_steps: int
    global_batch: int
    worker_batch: int
    """Slice pairs per step of the worker with the most shards."""
    generator_parameters: int
    discriminator_parameters: int
    state_bytes: int
    """Bytes of weights, gradients, Adam's moments, running mean and replay pools of one worker."""
    activation_bytes: int
    """Bytes saved for backward in fp32 and eager mode: an upper bound for AMP and compile."""
    checkpoint_bytes: int

    def __str__(self) -> str:
        mib = 2**20
        return "\n".join(
            [
                f"steps        {self.total_steps} ({self.steps_per_epoch} per epoch)",
                f"batch        {self.global_batch} slice pairs per step, "
                f"at most {self.worker_batch} per worker",
                f"parameters   {self.generator_parameters:,} generators, "
                f"{self.discriminator_parameters:,} discriminators",
                f"memory       about {(self.state_bytes + self.activation_bytes) / mib:,.0f} MiB "
                f"per worker: state {self.state_bytes / mib:,.0f}, "
                f"activations up to {self.activation_bytes / mib:,.0f}",
                f"checkpoint   {self.checkpoint_bytes / mib:,.0f} MiB each",
            ]
        )


def total_steps(config: Config, store: Store) -> int:
    """Return the optimizer steps of the whole run."""
    if config.train.max_steps:
        return config.train.max_steps
    return ceil(config.train.epochs * steps_per_epoch(store, config))


def make_plan(config: Config, store: Store) -> TrainingPlan:
    """Derive the numbers of a run; only the store's index is read."""
    with torch.device("meta"):
        generators, discriminators = build_generators(config), build_discriminators(config)
    first = Worker(world_size=config.scale.workers)  # worker 0: none has more shards
    worker_batch = config.batch.shard_size * len(config.batch.shards_of(0, first.world_size))
    image_bytes = 4 * store.size[0] * store.size[1]
    of_generators, of_discriminators = num_parameters(generators), num_parameters(discriminators)
    stored_bytes = image_bytes * (1 + config.data.num_conditions)
    pools = 2 * config.train.pool_size * config.batch.shards * stored_bytes
    channels = config.data.channels + config.data.num_conditions
    worker_pools = pools * worker_batch // config.batch.global_size
    return TrainingPlan(
        steps_per_epoch=steps_per_epoch(store, config),
        total_steps=total_steps(config, store),
        global_batch=config.batch.global_size,
        worker_batch=worker_batch,
        generator_parameters=of_generators,
        discriminator_parameters=of_discriminators,
        state_bytes=4 * (5 * of_generators + 4 * of_discriminators) + worker_pools,
        activation_bytes=saved_bytes(
            generators,
            (worker_batch // num_parts(config, first), channels, *store.size),
            has_companions=config.data.has_companions,
        ),
        checkpoint_bytes=4 * (4 * of_generators + 3 * of_discriminators) + pools,
    )


def saved_bytes(
    generators: nn.Module, shape: tuple[int, int, int, int], *, has_companions: bool = False
) -> int:
    """Count the bytes that the generators' forward keeps for backward, without computing it."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # the id of a freed tensor could be reused

    def count(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage.nbytes()
        return tensor

    image = torch.zeros(shape, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        generators(image, image, image[:, :1] if has_companions else None)
    return sum(kept.values())
