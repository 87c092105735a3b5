"""Measure the gradient bandwidth of a cluster: an all-reduce over one process per node."""

import time

import torch
import torch.distributed as dist

from cyclegan.train.distributed import join_group

GRADIENT_BYTES = 113_000_000
"""Gradients that the default networks exchange in a step: two ResNet-9 and two PatchGAN in fp32."""
REPEATS = 3


def all_reduce_gb_per_s(
    rank: int, world_size: int, address: str, port: int, timeout_s: int = 60
) -> float:
    """Return the bandwidth of a ring of these processes in GB/s: each sends 2 (n - 1) / n of the
    gradient in the time of one all-reduce (Patarasu and Yuan 2009).

    The backend is NCCL if every process has a GPU, else gloo. Rank 0 has called `open_port` for
    `address` and `port`.

    Raises:
        RuntimeError: The processes did not connect in time.
    """
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    join_group(
        rank,
        world_size,
        address=address,
        port=port,
        backend="nccl" if gpu else "gloo",
        timeout_s=timeout_s,
    )
    try:
        gradient = torch.ones(GRADIENT_BYTES // 4, device=device)
        dist.all_reduce(gradient)  # opens the connections
        dist.barrier()
        started = time.monotonic()
        for _ in range(REPEATS):
            dist.all_reduce(gradient)
        if gpu:
            torch.cuda.synchronize()
        spent = (time.monotonic() - started) / REPEATS
    finally:
        dist.destroy_process_group()
    return 2 * (world_size - 1) / world_size * GRADIENT_BYTES / spent / 1e9
