"""Placement of the networks: device, precision, compile and DDP, applied once, in that order."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch

from cyclegan.config.config import Config
from cyclegan.train.distributed import Worker, wrap_in_ddp
from cyclegan.train.engine.compile import compile_where_possible
from cyclegan.train.engine.deterministic import make_deterministic
from cyclegan.train.engine.gradients import AccumulatedGradients, OrderedGradients
from cyclegan.train.engine.state import TrainState
from cyclegan.train.engine.step import TrainEngine


def compute_dtype(
    precision: Literal["auto", "bf16", "fp16", "fp32"], device: torch.device
) -> torch.dtype:
    """Return the data type of convolutions; `auto` uses bf16 only if the hardware supports it."""
    if precision != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    if device.type == "cuda":
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if in_hardware else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def gpu_name(device: torch.device) -> str:
    """Return the name of a GPU, as its driver gives it; "" for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def memory_format(
    channels_last: Literal["auto", "yes", "no"], device: torch.device
) -> torch.memory_format:
    """Return the memory layout of weights and features.

    `auto` uses channels_last on a GPU only: compiled CPU code ran nine times slower with it.
    """
    wanted = channels_last == "yes" or (channels_last == "auto" and device.type == "cuda")
    return torch.channels_last if wanted else torch.contiguous_format


def place_networks(
    state: TrainState,
    config: Config,
    worker: Worker,
    note: Callable[[str], None],
    lap: Callable[[str], None] = lambda part: None,
) -> TrainEngine:
    """Compile the networks and wrap them in DDP.

    Args:
        state: State whose networks are placed.
        config: Configuration of the run.
        worker: This worker.
        note: Called with messages for the user.
        lap: Called at the end of each part of a step, with its name.

    Returns:
        The engine that runs the steps.
    """
    device, deterministic = worker.device, config.train.deterministic
    dtype = compute_dtype(config.train.precision, device)
    parts = num_parts(config, worker)
    share = config.batch.share_of(worker.rank, worker.world_size)
    if deterministic:
        make_deterministic(state)
    elif device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    formulas, num_graphs = compile_where_possible(state, config, parts, device, note)
    # DDP does not sum in a fixed order, so deterministic runs do without it.
    networks = [state.generators, state.discriminators]
    generators, discriminators = networks if deterministic else map(wrap_in_ddp, networks)
    return TrainEngine(
        generators=generators,
        discriminators=discriminators,
        autocast=partial(torch.autocast, device.type, dtype, enabled=dtype != torch.float32),
        formulas=formulas,
        gradients=OrderedGradients() if deterministic else AccumulatedGradients(),
        num_graphs=num_graphs,
        num_parts=parts,
        # Deterministic parts are summed, not averaged over workers.
        part_weight=1 / config.batch.shards if deterministic else share / parts,
        clip_norm=config.optimizer.clip_norm,
        discriminator_updates=config.optimizer.discriminator_updates,
        discriminator_every_steps=config.optimizer.discriminator_every_steps,
        lap=lap,
    )


def num_parts(config: Config, worker: Worker) -> int:
    """Return the number of micro-batches of a worker's batch."""
    shards = config.batch.shards_of(worker.rank, worker.world_size)
    return len(shards) if config.one_by_one else 1
