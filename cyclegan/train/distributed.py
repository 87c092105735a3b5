"""Communication between the workers of a run: the only module that uses torch.distributed.

All workers must call each function alike. A single worker needs no process group.
"""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
_LISTENERS: dict[int, socket.socket] = {}
"""Sockets of this process by port, on which no store listens yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One process of a run."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cores: int = 1
    """CPU cores that it may use."""

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is worker 0, the only one that writes shared files."""
        return self.rank == 0


def open_port(address: str) -> int:
    """Listen on a free port of one address of this machine, for `join_group`; return the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)
    port = int(listener.getsockname()[1])
    _LISTENERS[port] = listener
    return port


def join_group(
    rank: int, world_size: int, *, address: str, port: int, backend: str, timeout_s: float
) -> None:
    """Join the process group; returns once all workers have.

    Worker 0 has called `open_port`. torch itself would listen on all interfaces, and its store
    requires no token: whoever reaches it can disturb the run. On LOOPBACK gloo and NCCL listen
    there too; else the machine's settings say on which interface they do.
    """
    if address == LOOPBACK:
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    timeout = timedelta(seconds=timeout_s)
    store = dist.TCPStore(  # type: ignore[attr-defined]  # torch imports it from C untyped
        address,
        port,
        world_size,
        is_master=rank == 0,
        timeout=timeout,
        master_listen_fd=_LISTENERS.pop(port).detach() if rank == 0 else None,
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)


def wrap_in_ddp(module: nn.Module) -> nn.Module:
    """Wrap a module in DDP, if a process group exists.

    Buffers are not broadcast: spectral norm's vectors evolve identically on all workers.
    """
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)


def exposed_sync_ms(module: nn.Module) -> float | None:
    """Return how long DDP last delayed a backward for gradient communication; None without DDP.

    DDP measures the first steps and then every hundredth: the communication time minus its overlap
    with the backward computation.
    """
    if not isinstance(module, DistributedDataParallel):
        return None
    entries = module._get_ddp_logging_data()
    travelled_ns = int(entries.get("backward_comm_time", 0))
    return max(0, travelled_ns - int(entries.get("backward_compute_comm_overlap_time", 0))) / 1e6


def broadcast_choice(choose: Callable[[], str], worker: Worker) -> str:
    """Return the choice of worker 0 on every worker."""
    chosen = [choose() if worker.is_rank_zero else ""]
    if dist.is_initialized():
        dist.broadcast_object_list(chosen, src=0, device=worker.device)
    return chosen[0]


def gather(own: T, worker: Worker) -> list[T]:
    """Return the value of each worker on worker 0, in the order of their ranks; on the others an
    empty list."""
    if not dist.is_initialized():
        return [own]
    values = [own] * worker.world_size if worker.is_rank_zero else None
    dist.gather_object(own, values)
    return values or []


def all_gather(words: list[T], worker: Worker) -> list[list[T]]:
    """Return the items of each worker, in the order of their ranks; slow, so for rare use."""
    if not dist.is_initialized():
        return [words]
    said: list[list[T]] = [[] for _ in range(worker.world_size)]
    dist.all_gather_object(said, words)
    return said


def max_over_workers(values: Float[Tensor, " n"]) -> list[float]:
    """Return the maximum of each value over the workers, on the host; a host-device sync."""
    if dist.is_initialized():
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
    numbers: list[float] = values.tolist()
    return numbers


def mean_over_workers(values: Float[Tensor, " n"], share: float) -> Float[Tensor, " n"]:
    """Return the mean over all samples of the step.

    Args:
        values: Means over the samples of this worker, [n].
        share: Weight of this worker's means; 1 if all workers have equally many samples.
    """
    if not dist.is_initialized():
        return values
    summed = values * share
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def sum_in_order(terms: Sequence[Float[Tensor, " n"]]) -> Float[Tensor, " n"]:
    """Sum the terms of all workers one by one, in the order of ranks and of terms within a rank.

    Each worker adds its terms to the partial sum of the previous rank; the last rank broadcasts
    the total. The result is bit-identical however many workers share the terms.
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
