"""Rollback on non-finite updates, and advice on insufficient device memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError, DivergedError
from cyclegan.train.distributed import Worker, all_gather
from cyclegan.train.engine.state import TrainState

OUT_OF_MEMORY = (
    "out of memory",  # torch and CUDA, and NCCL, which quotes CUDA
    "cuda allocation failed",  # DALI, on a GPU
    "can't allocate",  # DALI, and torch on a CPU
    "std::bad_alloc",  # DALI and others, on a CPU
    "status_alloc_failed",  # cuDNN 8 and cuBLAS
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
)
"""Parts of the messages, in lower case, by which libraries say in a RuntimeError that memory is
insufficient."""


def rollback_reason(
    state: TrainState, config: Config, worker: Worker, terms: dict[str, Tensor]
) -> str:
    """Describe the latest non-finite updates, which require a rollback; the same on all workers.

    Raises:
        DivergedError: The run has used up its rollbacks (`guard.max_rollbacks`).
    """
    count = int(state.streak)
    first = state.step - count
    batch = config.batch.global_size
    reason = (
        f"The last {count} updates, of steps {first + 1} to {state.step}, were not finite: "
        f"{non_finite_terms(terms, worker)} (samples {first * batch} to {state.step * batch - 1})."
    )
    if state.rollbacks < config.guard.max_rollbacks:
        return reason
    raise DivergedError(
        f"The run diverged and was stopped. {reason} It was rolled back {state.rollbacks} times, "
        "each time with halved learning rates. The weights in the last checkpoint are finite. Try "
        "a smaller --optimizer.learning-rate, --optimizer.clip-norm 1, or --train.precision bf16 "
        "or fp32, in a new run: --run.name NAME."
    )


def non_finite_terms(terms: dict[str, Tensor], worker: Worker) -> str:
    """Name the loss terms that are not finite and the first worker that has one."""
    sums = ("loss/generators",)  # a sum is not finite whenever one of its terms is not
    bad = [n for n, term in terms.items() if n not in sums and not isfinite(float(term))]
    for rank, names in enumerate(all_gather(bad, worker)):
        if names:
            return f"{', '.join(names)} on worker {rank}"
    return "a gradient, while every loss is finite"


@contextmanager
def explain_out_of_memory(config: Config) -> Iterator[None]:
    """Replace the out-of-memory error of any library within the context by one with a remedy.

    Raises:
        ConfigError: The device's memory is insufficient; with the library's message.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"The device has too little memory: {error}\n"
            + (
                f"--batch.shard-size {max(1, config.batch.shard_size // 2)} needs less memory, but "
                "changes the experiment. More workers (--scale.workers) do not reduce the memory "
                "of each."
                if config.one_by_one
                else "--scale.accumulate runs each worker's shards one after the other: the same "
                f"step of {config.batch.global_size} pairs, with the memory of "
                f"{config.batch.shard_size}."
            )
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a library failed because memory is insufficient."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in str(error).lower() for part in OUT_OF_MEMORY
    )
