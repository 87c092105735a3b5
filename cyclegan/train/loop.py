"""The training loop of one worker: build, restore, loop. It does not know who started it."""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from math import isfinite
from pathlib import Path

import torch

from cyclegan.config import Config
from cyclegan.config_file import to_yaml
from cyclegan.data.stream import open_stream
from cyclegan.train import checkpoint
from cyclegan.train.environment import record_environment
from cyclegan.train.placement import (
    Worker,
    agree,
    arithmetic,
    barrier,
    mean_over_workers,
    memory_format,
    place,
    share_of,
)
from cyclegan.train.plan import total_steps
from cyclegan.train.schedule import rate_factor
from cyclegan.train.state import TrainState, build_state
from cyclegan.train.step import train_step
from cyclegan.train.telemetry import Telemetry
from cyclegan.train.validate import SELECTION, validation_scores
from data_prep.atomic import write_atomic
from data_prep.store import Store, open_store

Report = Callable[[dict[str, float]], None]


def train_worker(
    config: Config,
    worker: Worker,
    report: Report = lambda metrics: None,
    start: Path | None = None,
) -> TrainState:
    """Run one worker from the newest checkpoint, or from `start`, to the end of the run.

    `report` is called on every worker alike, after each validation, with finite floats; it returns
    when all have called it.
    """
    store = open_store(config.store)
    shards = config.batch.shards_of(worker.rank, worker.world_size)
    state = build_state(
        config,
        size=store.size,
        shards=shards,
        device=worker.device,
        layout=memory_format(config.train.channels_last, worker.device),
        fp16=arithmetic(config.train.precision, worker.device) == torch.float16,
    )
    restore(state, config, worker, store, start)
    steps, every = total_steps(config, store), config.schedule
    telemetry = Telemetry(
        config.run_folder,
        leads=worker.leads,
        first_step=state.step,
        global_batch=config.batch.global_size,
        average=partial(mean_over_workers, share=share_of(config, worker)),
    )
    engine = place(state, config, worker, partial(telemetry.note, state.step))
    stream = open_stream(
        store, config, "train", shards=shards, start_step=state.step, device=worker.device
    )
    with closing(telemetry), closing(stream):
        while state.step < steps:
            waiting = time.monotonic()
            batch = next(stream)
            wait_s = time.monotonic() - waiting
            set_rates(state, config, steps)
            terms = train_step(
                state, engine, batch, config.loss.at(state.step, steps), config.train.ema_decay
            )
            telemetry.add(terms, wait_s)
            if due(state.step, every.log_every_steps, steps):
                telemetry.write(state.step, telemetry.means() | rates(state))
            pausing = time.monotonic()
            score = None
            # Before the checkpoint: one that is there has been validated, if it was due.
            if validating := due(state.step, every.validate_every_steps, steps):
                score = validate(state, config, worker, store, telemetry, report)
            if validating or due(state.step, every.save_every_steps, steps):
                save(state, config, worker, score)
            telemetry.pause(time.monotonic() - pausing)
    return state


def due(step: int, every: int, last: int) -> bool:
    """Whether something that happens every so many steps, and at the end, happens now."""
    return step == last or (every > 0 and step % every == 0)


def set_rates(state: TrainState, config: Config, steps: int) -> None:
    """Give both optimizers the learning rates of the step to come."""
    optimizer = config.optimizer
    factor = rate_factor(state.step, steps, optimizer.schedule, optimizer.warmup_steps)
    state.translator_optimizer.param_groups[0]["lr"] = factor * optimizer.learning_rate
    state.critic_optimizer.param_groups[0]["lr"] = factor * optimizer.critic_learning_rate


def rates(state: TrainState) -> dict[str, float]:
    """The learning rates of the last step, and how many updates were skipped as not finite."""
    return {
        "rate/translators": state.translator_optimizer.param_groups[0]["lr"],
        "rate/critics": state.critic_optimizer.param_groups[0]["lr"],
        "guard/skipped": float(state.skipped),
    }


def restore(
    state: TrainState, config: Config, worker: Worker, store: Store, start: Path | None
) -> None:
    """Take up the newest whole checkpoint of the run; worker 0 chooses for all."""
    found = agree(lambda: str(checkpoint.newest(config.run_folder) or start or ""), worker)
    if found:
        checkpoint.restore(state, Path(found))
    if worker.leads:
        config.run_folder.mkdir(parents=True, exist_ok=True)
        write_atomic(config.run_folder / "config.yaml", to_yaml(config).encode())
        record_environment(config.run_folder, store, worker.world_size)


def save(state: TrainState, config: Config, worker: Worker, score: float | None) -> None:
    """Commit a checkpoint, then let older ones go."""
    checkpoint.save(state, config.run_folder, score=score, leads=worker.leads, barrier=barrier)
    if worker.leads:
        checkpoint.prune(config.run_folder, config.schedule.keep_last)


def validate(
    state: TrainState,
    config: Config,
    worker: Worker,
    store: Store,
    telemetry: Telemetry,
    report: Report,
) -> float | None:
    """Score the running mean on the val split and tell the launcher; returns the selection score.

    Worker 0 alone works meanwhile, so the others wait in `report` and not in a collective, whose
    time is limited.
    """
    metrics: dict[str, float] = {}
    if worker.leads:
        mean = state.mean
        metrics, picture = validation_scores(
            mean.to_ct, mean.to_mri, store, config, device=worker.device
        )
        telemetry.write(state.step, metrics)
        telemetry.picture(state.step, "val/cycles", picture)
        metrics = {name: value for name, value in metrics.items() if isfinite(value)}
    report(metrics | {"step": float(state.step)})
    return metrics.get(SELECTION)
