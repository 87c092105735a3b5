"""What the workers of a run say to one another: the only home of torch.distributed.

Each function is called by all workers alike. A worker alone needs no process group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


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


def synchronised(module: nn.Module) -> nn.Module:
    """The module behind DDP, where a process group exists.

    Buffers are not broadcast: spectral norm's vectors evolve alike on all workers.
    """
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)


def exposed_sync_ms(module: nn.Module) -> float | None:
    """How long DDP last kept a backward waiting for the other workers; None without DDP.

    DDP measures the first steps and then every hundredth: the time that gradients travelled, less
    what of it passed while the backward still computed.
    """
    if not isinstance(module, DistributedDataParallel):
        return None
    told = module._get_ddp_logging_data()
    travelled_ns = int(told.get("backward_comm_time", 0))
    return max(0, travelled_ns - int(told.get("backward_compute_comm_overlap_time", 0))) / 1e6


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


def gathered(words: list[T], worker: Worker) -> list[list[T]]:
    """What each worker has to say, in the order of their ranks; rare, for it is slow."""
    if not dist.is_initialized():
        return [words]
    said: list[list[T]] = [[] for _ in range(worker.world_size)]
    dist.all_gather_object(said, words)
    return said


def highest(values: Float[Tensor, " n"]) -> list[float]:
    """The highest of each value over the workers, on the host: a sync."""
    if dist.is_initialized():
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
    numbers: list[float] = values.tolist()
    return numbers


def mean_over_workers(values: Float[Tensor, " n"], share: float) -> Float[Tensor, " n"]:
    """The mean over all samples of the step, where `values` are means over a worker's own."""
    if not dist.is_initialized():
        return values
    summed = values * share
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def sum_in_order(terms: Sequence[Float[Tensor, " n"]]) -> Float[Tensor, " n"]:
    """The sum over all workers' terms, added one by one from worker 0's first to the last's last.

    Each worker adds its terms to what the one before it hands on, and the last tells all: the same
    bits however many workers share the terms.
    """
    total = torch.zeros_like(terms[0])
    rank, last = (dist.get_rank(), dist.get_world_size() - 1) if dist.is_initialized() else (0, 0)
    if rank > 0:
        dist.recv(total, rank - 1)
    for term in terms:
        total += term
    if rank < last:
        dist.send(total, rank + 1)
    if last:
        dist.broadcast(total, last)
    return total
