"""Where and how the networks run: device, arithmetic, compile, DDP, put on once and in that order.

The only home of torch.distributed. The step knows nothing of it.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cyclegan.config import Config
from cyclegan.nets.generator import ResidualBlock
from cyclegan.train.state import TrainState
from cyclegan.train.step import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One process of a run."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this worker writes what only one may write."""
        return self.rank == 0


def arithmetic(
    precision: Literal["auto", "bf16", "fp16", "fp32"], device: torch.device
) -> torch.dtype:
    """What convolutions compute in. `auto` takes bf16 only where the hardware has it."""
    if precision != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def memory_format(
    channels_last: Literal["auto", "yes", "no"], device: torch.device
) -> torch.memory_format:
    """`auto` takes channels_last on a GPU only: compiled CPU code ran nine times slower with it."""
    wanted = channels_last == "yes" or (channels_last == "auto" and device.type == "cuda")
    return torch.channels_last if wanted else torch.contiguous_format


def compile_obstacle(device: torch.device) -> str:
    """Why torch.compile cannot work here; empty where it can. Compiles one small function."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"no C++ compiler found ({compiler})"
    try:
        torch.compile(nn.ReLU())(torch.zeros(16, device=device))
    except Exception as error:  # whatever a compiler, a driver or a missing header leads to
        return f"torch.compile failed ({type(error).__name__})"
    return ""


def place(state: TrainState, config: Config, worker: Worker, note: Callable[[str], None]) -> Engine:
    """Compile the networks and put DDP around them; what a user should know goes to `note`."""
    device = worker.device
    if config.train.compile != "no":
        if obstacle := compile_obstacle(device):
            note(f"{obstacle}: training runs eager, which is slower.")
        else:
            compile_in_place(state, config.train.compile)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    dtype = arithmetic(config.train.precision, device)
    return Engine(
        translators=synchronised(state.translators),
        critics=synchronised(state.critics),
        autocast=partial(torch.autocast, device.type, dtype, enabled=dtype != torch.float32),
        share=share_of(config, worker),
    )


def share_of(config: Config, worker: Worker) -> float:
    """What a worker's mean counts for in a mean over workers, so that all samples count alike."""
    shards = config.batch.shards_of(worker.rank, worker.world_size)
    return len(shards) * worker.world_size / config.batch.shards


def compile_in_place(state: TrainState, extent: Literal["blocks", "all"]) -> None:
    """Compile the residual blocks alone, or both pairs of networks whole."""
    modules: list[nn.Module] = [state.translators, state.critics]
    if extent == "blocks":
        modules = [m for m in state.translators.modules() if isinstance(m, ResidualBlock)]
    for module in modules:
        module.compile(dynamic=False)


def synchronised(module: nn.Module) -> nn.Module:
    """The module behind DDP, where a process group exists.

    Buffers are not broadcast: spectral norm's vectors evolve alike on all workers.
    """
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)


def barrier() -> None:
    """Wait for all workers."""
    if dist.is_initialized():
        dist.barrier()


def agree(choose: Callable[[], str], worker: Worker) -> str:
    """What worker 0 chose, on every worker."""
    chosen = [choose() if worker.leads else ""]
    if dist.is_initialized():
        dist.broadcast_object_list(chosen, src=0, device=worker.device)
    return chosen[0]


def mean_over_workers(values: Float[Tensor, " n"], share: float) -> Float[Tensor, " n"]:
    """The mean over all samples of the step, where `values` are means over a worker's own."""
    if not dist.is_initialized():
        return values
    summed = values * share
    dist.all_reduce(summed)
    return summed / dist.get_world_size()
