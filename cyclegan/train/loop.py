"""Training loop of one worker: build, restore, loop."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial

import torch

from cyclegan.config.config import Config
from cyclegan.config.files import compared_settings, computation_settings
from cyclegan.data.slice_source import append_to
from cyclegan.data.stream import open_stream
from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.checkpoint.checkpoint import prune_checkpoints
from cyclegan.train.checkpoint.run_record import store_of_run
from cyclegan.train.distributed import Worker, exposed_sync_ms, max_over_workers, mean_over_workers
from cyclegan.train.divergence import explain_out_of_memory, rollback_reason
from cyclegan.train.engine.compile import compile_warning
from cyclegan.train.engine.lr_schedule import rate_factor
from cyclegan.train.engine.measured_layout import settle_layout
from cyclegan.train.engine.placement import compute_dtype, gpu_name, memory_format, place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step
from cyclegan.train.first_state import resume_run
from cyclegan.train.monitor.profiler import trace_steps
from cyclegan.train.monitor.telemetry import Telemetry
from cyclegan.train.monitor.trackers import open_tracker
from cyclegan.train.monitor.training_warnings import TrainingWarnings
from cyclegan.train.periodic_events import PeriodicEvents
from cyclegan.train.training_plan import total_steps
from cyclegan.train.training_run import ReportMetrics, TrainingRun
from cyclegan.train.validation.background import BackgroundValidation
from cyclegan.train.validation.patience import past_scores
from cyclegan.train.validation.scorer import open_scorer
from data_prep.store.store import open_store
from mrct.storage.paths import StoragePath

SUBSTITUTION_LOG = "substituted.jsonl"
"""File in the run folder with one line per slice that replaced a damaged one."""
LOOKS_IN_GRACE = 5
"""Checks for a stop request within `scale.grace_s` where steps are slow: there must be time left to
save."""


def train_worker(
    config: Config,
    worker: Worker,
    report: ReportMetrics = lambda metrics: None,
    start: StoragePath | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
    node_preempted: Callable[[], bool] = lambda: False,
    notes: Iterable[str] = (),
    contents: str | None = None,
) -> TrainState:
    """Run one worker from the newest checkpoint, or from `start`, to the end of the run.

    Args:
        config: Configuration of the run, with its name and paths resolved.
        worker: Rank, number of workers and device.
        report: Called on every worker after each validation, with finite floats; returns once all
            workers have called it.
        start: Checkpoint of another run to start from, if this run has none of its own.
        stop_requested: Whether to stop; once it is true on any worker, all save at the same step
            and return.
        node_preempted: Whether a node will be preempted; once it is true on any worker, all save
            and continue.
        notes: Messages that worker 0 logs first.
        contents: Hash of the store's volumes and splits that all workers, and those after a
            restart, are to have; by default those that the run is recorded to have begun with.

    Returns:
        The state at the last step done.

    Raises:
        ConfigError: The store no longer has these volumes.
        DivergedError: Updates stay non-finite, even from earlier checkpoints and at smaller rates.
    """
    store = store_of_run(config.run_folder, open_store(config.store), contents)
    first_notes = list(notes) if worker.is_rank_zero else []  # reading them may consume them
    gpu = gpu_name(worker.device)
    choice = settle_layout(config, gpu, worker, first_notes.append)
    layout = memory_format(choice, worker.device)
    state = build_state(
        config,
        size=store.size,
        shards=config.batch.shards_of(worker.rank, worker.world_size),
        device=worker.device,
        layout=layout,
        fp16=compute_dtype(config.train.precision, worker.device) == torch.float16,
    )
    share = config.batch.share_of(worker.rank, worker.world_size)
    steps, settings = total_steps(config, store), computation_settings(config)
    compared = compared_settings(config)
    begun = resume_run(state, config, worker, store, steps, start, first_notes.append)
    telemetry = Telemetry(
        config.run_folder,
        is_rank_zero=worker.is_rank_zero,
        first_step=state.step,
        global_batch=config.batch.global_size,
        device=worker.device,
        average=partial(mean_over_workers, share=share),
        highest=max_over_workers,
        tracker=open_tracker(config) if worker.is_rank_zero else None,
    )
    note = partial(telemetry.note, state.step)
    schedule = config.schedule
    saving = BackgroundSave(
        config.run_folder,
        worker,
        partial(prune_checkpoints, config.run_folder, schedule.keep_last, schedule.keep_best),
    )
    scorer = open_scorer(store, config, worker)
    run = TrainingRun(
        config=config,
        worker=worker,
        store=store,
        state=state,
        channels_last=layout == torch.channels_last,
        engine=place_networks(state, config, worker, note, telemetry.timer.lap),
        telemetry=telemetry,
        saving=saving,
        validation=BackgroundValidation(store, config, worker, scorer),
        events=PeriodicEvents(config, state.step),
        report=report,
        stop_requested=stop_requested,
        node_preempted=node_preempted,
        scores=past_scores(config.run_folder, state.step) if worker.is_rank_zero else {},
    )
    with (
        closing(telemetry),
        closing(saving),
        closing(scorer),
        explain_out_of_memory(config),
        trace_steps(config, worker, note) as trace,
    ):
        telemetry.settings(settings, compared, done=False)
        for word in first_notes if worker.is_rank_zero else ():
            note(word)
        if run.owes_validation():
            run.events.make_due("validate")
        if not begun:  # shows at once whether storage is writable, and allows a rollback
            # What a guided generator looks up is a result before it has learned anything: this
            # checkpoint's score is made up below, or after a stop when the run continues.
            run.save(validated=config.generator.guide != "none", wait=True)
        run.make_up_scores()
        while trouble := advance(run, steps, trace):
            run.roll_back(trouble)
        saving.finish()
        telemetry.note(state.step, str(run.events))
        telemetry.settings(settings, compared, done=state.step == steps)
    return state


def advance(run: TrainingRun, steps: int, trace: Callable[[], None]) -> str:
    """Train from the state's step to the last one, or until a pause or a stop.

    Args:
        run: The run, at the step to continue from.
        steps: Optimizer steps of the whole run.
        trace: Called after each step.

    Returns:
        The reason for a rollback, as soon as too many consecutive updates were not finite; else "".
    """
    config, state, telemetry, events = run.config, run.state, run.telemetry, run.events
    watch = TrainingWarnings(config.data.mri_contrast)
    last = min(steps, config.schedule.pause_at_step or steps)
    stop = leave = False
    looked, looked_s, next_look = state.step, time.monotonic(), state.step + 1
    device, grace_s = run.worker.device, config.scale.grace_s
    note = partial(telemetry.note, state.step)
    stream = open_stream(
        run.store,
        config,
        "train",
        shards=state.mri_pool.shards,
        start_step=state.step,
        device=device,
        channels_last=run.channels_last,
        add_conditions=run.engine.formulas.with_conditions,
        note=note,
        record=append_to(config.run_folder / SUBSTITUTION_LOG, note),
    )
    with closing(stream):
        while state.step < last and not stop:
            telemetry.timer.start()
            batch = next(stream)
            telemetry.timer.lap("data_wait")
            set_rates(state, config, steps)
            weights = config.loss.at(state.step, steps)
            terms = train_step(state, run.engine, batch, weights, config.train.ema_decay)
            telemetry.add(terms)
            trace()
            # The steps at which a streak is checked must not depend on the clock.
            ends = state.step == last
            looks_back = ends or state.step % config.guard.look_every_steps == 0
            if looks_back or state.step >= next_look:
                stop, leave, streak, step_s = run.look(looked_s, state.step - looked)
                looked, looked_s = state.step, time.monotonic()
                next_look = state.step + max(1, int(grace_s / LOOKS_IN_GRACE / step_s))
                if looks_back and streak >= config.guard.max_streak:
                    run.saving.finish()
                    return rollback_reason(state, config, run.worker, terms)
            if ends or events.is_due("log", state.step):
                with events.happens("log", state.step):
                    means = telemetry.means()
                    means |= sync_time(run.engine) | rates(state)
                    means["speed/training_percent"] = events.training_percent
                    telemetry.write(state.step, means)
                compiled = compile_warning(run.engine.num_graphs)
                for warning in filter(None, [*watch.read(means), compiled]):
                    telemetry.note(state.step, f"warning: {warning}")
            pausing = time.monotonic()
            validated = False
            # Validate before saving: a checkpoint says whether its validation has begun, and so
            # whether a score follows. A run that is stopped early may have no time for it.
            validating = ends or events.is_due("validate", state.step)
            if validating:
                given_up = stop and not ends
                if not given_up:
                    with events.happens("validate", state.step):
                        validated = run.validate(to_its_end=ends)
                    given_up = not validated
                run.owe_validation(given_up)
                stop = stop or given_up
            if validating or stop or leave or events.is_due("save", state.step):
                with events.happens("save", state.step):  # the time until a stop may be short
                    run.save(validated=validated, wait=stop or leave)
                leave = False
            if validated and (ends or not run.validation.scorer.is_beside):
                with events.holds("validate"):
                    run.finish_validation()
            paused_s = time.monotonic() - pausing
            telemetry.pause(paused_s)
            looked_s += paused_s
    return ""


def set_rates(state: TrainState, config: Config, steps: int) -> None:
    """Set the learning rates of both optimizers for the next step."""
    optimizer = config.optimizer
    factor = rate_factor(
        state.step, steps, optimizer.schedule, optimizer.warmup_steps, optimizer.decay_start
    )
    factor *= 0.5**state.rollbacks
    # At a rate of 0 weights stay as they are, in the graphs that training needs anyway.
    generators_learn = state.step >= state.warmup_steps
    for adam, rate in (
        (state.generator_optimizer, optimizer.learning_rate * generators_learn),
        (state.discriminator_optimizer, optimizer.discriminator_learning_rate),
    ):
        adam.param_groups[0]["lr"].fill_(factor * rate)


def sync_time(engine: TrainEngine) -> dict[str, float]:
    """Return the recent time per step spent on gradient communication; empty without DDP."""
    waits = [exposed_sync_ms(network) for network in (engine.generators, engine.discriminators)]
    known = [wait for wait in waits if wait is not None]
    return {"speed/sync_ms": sum(known)} if known else {}


def rates(state: TrainState) -> dict[str, float]:
    """Return the learning rates of the last step, and counts of skipped steps and rollbacks."""
    return {
        "rate/generators": float(state.generator_optimizer.param_groups[0]["lr"]),
        "rate/discriminators": float(state.discriminator_optimizer.param_groups[0]["lr"]),
        "guard/skipped": float(state.skipped),
        "guard/rollbacks": float(state.rollbacks),
    }
