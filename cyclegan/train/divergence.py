"""Words and decisions when a run cannot go on as it is: updates not finite, memory not enough."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError, DivergedError
from cyclegan.train.distributed import Worker, gathered
from cyclegan.train.engine.state import TrainState


def reason_to_go_back(
    state: TrainState, config: Config, worker: Worker, terms: dict[str, Tensor]
) -> str:
    """What is wrong with the updates of late; on all workers alike.

    Raises:
        DivergedError: The run has gone back as often as it may.
    """
    count = int(state.streak)
    first = state.step - count
    batch = config.batch.global_size
    reason = (
        f"the last {count} updates, of steps {first + 1} to {state.step}, were not finite: "
        f"{culprit(terms, worker)} (samples {first * batch} to {state.step * batch - 1})."
    )
    if state.rollbacks < config.guard.max_rollbacks:
        return reason
    raise DivergedError(
        f"the run diverged and was stopped: {reason} It has gone back {state.rollbacks} times, "
        "each time with half of the rates. Its weights are finite in the last checkpoint. Try a "
        "smaller --optimizer.learning-rate, --optimizer.clip-norm 1, or --train.precision bf16 or "
        "fp32, in a new run: --run.name NAME."
    )


def culprit(terms: dict[str, Tensor], worker: Worker) -> str:
    """The loss terms that are not finite and the first worker that has one."""
    sums = ("loss/translators",)  # they only repeat what is wrong with a part of them
    bad = [n for n, term in terms.items() if n not in sums and not isfinite(float(term))]
    for rank, names in enumerate(gathered(bad, worker)):
        if names:
            return f"{', '.join(names)} on worker {rank}"
    return "a gradient, while every loss is finite"


@contextmanager
def memory_is_enough(config: Config) -> Iterator[None]:
    """Tell what to do where the device's memory is not.

    Raises:
        ConfigError: In place of torch's error, with its numbers.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        one_by_one = config.scale.accumulate or config.train.deterministic
        raise ConfigError(
            f"the device's memory is not enough: {error}\n"
            + (
                f"--batch.shard-size {max(1, config.batch.shard_size // 2)} needs less, but is "
                "another experiment; more workers (--scale.workers) need no less each."
                if one_by_one
                else "--scale.accumulate runs each worker's shards one after the other: the same "
                f"step of {config.batch.global_size} pairs, with the memory of "
                f"{config.batch.shard_size}."
            )
        ) from error
