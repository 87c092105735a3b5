"""Dry run: a few real steps on this machine, to estimate the time and memory of a run.

Nothing is written. The networks, batches and compiler settings are those of the run; only the
other workers are missing.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from statistics import median

import torch

from cyclegan.config.config import Config
from cyclegan.data.batch import Batch
from cyclegan.data.stream import open_stream, print_note
from cyclegan.train.distributed import Worker
from cyclegan.train.divergence import explain_out_of_memory
from cyclegan.train.engine.measured_layout import look_up_layout
from cyclegan.train.engine.placement import compute_dtype, gpu_name, memory_format, place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step
from cyclegan.train.monitor.timers import peak_memory
from cyclegan.train.training_plan import total_steps
from data_prep.store.store import Store
from mrct.progress import duration

MEASURED_STEPS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRunResult:
    """Measurements of a few steps on one worker."""

    device: str
    workers: int
    steps: int
    """Optimizer steps that are left of the run."""
    first_step: int = 0
    """Step that the run would continue from."""
    first_step_s: float
    """Seconds of the first step, with one-time work: compiling and filling the loader."""
    step_s: float
    """Median seconds of the later steps."""
    peak_gib: float
    """Peak memory in GiB: torch's allocations on a GPU, else that of the process."""
    memory_gib: float | None
    """Total memory of the GPU in GiB; None on a CPU."""

    @property
    def run_s(self) -> float:
        """Estimated seconds of the steps that are left, without validations and checkpoints."""
        return self.first_step_s + (self.steps - 1) * self.step_s

    def __str__(self) -> str:
        alone = "" if self.workers == 1 else ", one worker without gradient communication"
        of = "" if self.memory_gib is None else f" of {self.memory_gib:.1f}"
        rest = f" for the {self.steps} steps from {self.first_step} on," if self.first_step else ""
        return (
            f"measured     {MEASURED_STEPS} steps on {self.device}{alone}: {self.step_s:.3g} s per "
            f"step, {self.first_step_s:.3g} s for the first\n"
            f"             peak memory {self.peak_gib:.1f}{of} GiB\n"
            f"time         about {duration(self.run_s)}{rest} without validations and checkpoints"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DryRun:
    """New networks and the batches of a run, on one worker."""

    worker: Worker
    state: TrainState
    engine: TrainEngine
    stream: Iterator[Batch]
    steps: int
    """Optimizer steps of the whole run."""


@contextmanager
def open_dry_run(config: Config, store: Store, first_step: int = 0) -> Iterator[DryRun]:
    """Build what worker 0 of a run has, which has the most shards; nothing is written.

    Args:
        config: Configuration of the run, with its name and paths resolved.
        store: The run's store.
        first_step: Step from which on data and loss weights are those of the run.

    Raises:
        ConfigError: The device has too little memory.
        DataError, StoreError: As raised by `open_stream`.
    """
    cuda = torch.cuda.is_available() and config.scale.gpu != "no"
    device = torch.device("cuda:0" if cuda else "cpu")
    worker = Worker(world_size=config.scale.workers, device=device)
    shards = config.batch.shards_of(0, worker.world_size)
    layout = memory_format(look_up_layout(config, gpu_name(device), print_note), device)
    with explain_out_of_memory(config):
        state = build_state(
            config,
            size=store.size,
            shards=shards,
            device=device,
            layout=layout,
            fp16=compute_dtype(config.train.precision, device) == torch.float16,
        )
        state.step = first_step
        engine = place_networks(state, config, worker, print_note)
        stream = open_stream(
            store,
            config,
            "train",
            shards=shards,
            start_step=first_step,
            device=device,
            channels_last=layout == torch.channels_last,
            add_conditions=engine.formulas.with_conditions,
        )
        with closing(stream):
            yield DryRun(
                worker=worker,
                state=state,
                engine=engine,
                stream=stream,
                steps=total_steps(config, store),
            )


def measure_steps(config: Config, store: Store, first_step: int = 0) -> DryRunResult:
    """Run and measure a few steps from `first_step` on; arguments and errors are those of
    `open_dry_run`."""
    took_s = []
    with open_dry_run(config, store, first_step) as dry_run:
        state, device = dry_run.state, dry_run.worker.device
        for _ in range(1 + MEASURED_STEPS):
            started = time.monotonic()
            weights = config.loss.at(state.step, dry_run.steps)
            batch = next(dry_run.stream)
            train_step(state, dry_run.engine, batch, weights, config.train.ema_decay)
            float(state.streak)  # waits for the device
            took_s.append(time.monotonic() - started)
    cuda = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30 if cuda else None
    return DryRunResult(
        device=gpu_name(device) or "this machine's CPU",
        workers=dry_run.worker.world_size,
        steps=dry_run.steps - first_step,
        first_step=first_step,
        first_step_s=took_s[0],
        step_s=median(took_s[1:]),
        peak_gib=peak_memory(device)["memory/peak_gib"],
        memory_gib=memory,
    )
