"""Run a search with Ray Tune, from the first trial or from the end of an event log."""

import logging
import os
import shutil
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune.search import Searcher

from cyclegan.contrast.run_table import fit_missing_table
from cyclegan.contrast.table_file import TABLE_FILE
from cyclegan.errors import PreemptedError, StoppedError
from cyclegan.train.checkpoint.run_record import store_of_run
from data_prep.store.store import open_store
from mrct.errors import StorageFullError, UnreachableError
from mrct.ray_session import machines, ray_session
from mrct.stop_signals import collect_signals
from mrct.storage.local_path import LocalPath
from tune.search.callbacks import SearchStopper, TrialRecorder
from tune.search.console import status_text
from tune.search.event_log import EventLog
from tune.search.resources import TrialResources, resources_for
from tune.search.schedulers import make_scheduler, rungs
from tune.search.settings import Draw, Settings
from tune.search.trial import TrialContext, TrialSpec, run_trial
from tune.space.space import Space

QUIET = {
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # tracebacks are not useful; the event log has the reason
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # snapshots that are never read
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a frame even with verbose=0
}
"""Environment variables that turn off side effects of Tune."""
RETRIES = 2
"""Retries after the loss of the process that leads a trial; its workers have their own retries."""


def search(
    settings: Settings, context: TrialContext, log: EventLog, draw: Draw, space: Space
) -> None:
    """Train the remaining trials of `settings.trials`, and record all events in the event log.

    Raises:
        ConfigError: The cluster has no room for one trial.
        StoppedError: A signal was received; a later search continues.
        UnreachableError: Storage could not be reached; a later search continues.
        StorageFullError: A disk is full; a later search continues.
    """
    os.environ |= QUIET
    warnings.filterwarnings("ignore", "Consider boosting PBT")
    # It expects the scores in Tune's own storage; the event log has them.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel("ERROR")
    # After losing a worker, Ray Train asks the dashboard which nodes are alive; without it the
    # worker's resources stay reserved, and the next trial waits forever (Ray 2.60).
    with (
        ray_session(dashboard=True),
        collect_signals() as signals,
        status_text(lambda: log.trials, settings.trials, context.objective) as tell,
    ):
        stopper = SearchStopper(log, settings.time_budget_s, signals)
        recorder = TrialRecorder(context, log, stopper, tell)
        recorder.settle()
        left = [trial for trial in log.trials if trial.state == "running"]
        num_left = len(left) + max(0, settings.trials - len(log.trials))
        if num_left:
            resources = resources_for(
                context.base.scale, machines(), num_left, settings.max_concurrent
            )
            tell(f"{num_left} trials to train, {resources.text}; {look_steps(settings, context)}")
            run_trials(
                settings,
                with_resources(with_table(context, settings.folder, tell), resources),
                log,
                draw,
                space,
                recorder,
                num_left,
                resources,
            )
    if signals:
        error = StoppedError if signals[0] == signal.SIGINT else PreemptedError
        raise error(f"Stopped by {signals[0].name}. {unfinished_trials(log, settings)}")
    if log.failure:
        raise log.failure
    if stopper.outage:
        raise UnreachableError(f"{stopper.outage} {unfinished_trials(log, settings)}")
    if stopper.full:
        raise StorageFullError(
            f"Storage is full: {stopper.full} Free some space. {unfinished_trials(log, settings)}"
        )


def unfinished_trials(log: EventLog, settings: Settings) -> str:
    """Return a sentence about the remaining trials of an interrupted search."""
    ended = sum(trial.state != "running" for trial in log.trials)
    return (
        f"{ended} of {settings.trials} trials ended; the same command with --resume continues the "
        "others from their last checkpoints."
    )


def look_steps(settings: Settings, context: TrialContext) -> str:
    """Return when the scheduler decides, as text."""
    steps, every = context.base.train.max_steps, context.look_every_steps
    if settings.scheduler == "asha":
        decides = ", ".join(map(str, rungs(every, steps)))
        return f"{steps} steps, the worse two thirds end early at {decides}"
    if settings.scheduler == "pbt":
        return f"{steps} steps, the worst quarter takes over from the best every {every}"
    return f"{steps} steps each"


def with_resources(context: TrialContext, resources: TrialResources) -> TrialContext:
    """Return the course with each trial's share of the cluster."""
    scale = replace(
        context.base.scale,
        cpus_per_worker=resources.cpus_per_worker,
        gpu="yes" if resources.use_gpu else "no",
    )
    return replace(context, base=replace(context.base, scale=scale))


def with_table(
    context: TrialContext, folder: LocalPath, note: Callable[[str], None]
) -> TrialContext:
    """Return the context with the table that guided trials start from, fitted once for all."""
    base = context.base
    if base.generator.guide == "none":
        return context
    store = store_of_run(folder, open_store(base.store), context.contents)
    fit_missing_table(folder, store, None, note)
    return replace(context, table=folder / TABLE_FILE)


def run_trials(
    settings: Settings,
    context: TrialContext,
    log: EventLog,
    draw: Draw,
    space: Space,
    recorder: TrialRecorder,
    num_left: int,
    resources: TrialResources,
) -> None:
    """Run the trials with Tune and wait for them."""
    queue = Queue(log, draw)
    by_population = settings.scheduler == "pbt"
    # Tune allows no searcher with a population, whose members it needs to know at the start.
    members = [queue.next_trial() for _ in range(num_left)] if by_population else []
    shutil.rmtree(
        settings.folder / "tune", ignore_errors=True
    )  # Ray's own state of an earlier search
    ray.tune.Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(run_trial, context=context), resources.leader
        ),
        param_space={"trial": ray.tune.grid_search(members)} if members else {},
        tune_config=ray.tune.TuneConfig(
            num_samples=1 if members else num_left,
            # All members of a population start, and some pause; the memory of the processes that
            # lead them is the limit.
            max_concurrent_trials=None if members else resources.concurrent,
            search_alg=None if members else queue,
            scheduler=make_scheduler(
                settings.scheduler,
                context,
                log,
                space=space,
                seed=context.base.run.seed,
                ask_to_end=recorder.ask_to_end,
                record=recorder.score,
            ),
            trial_name_creator=lambda trial: str(trial.config["trial"]["name"]),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=ray.tune.RunConfig(
            name="tune",
            storage_path=str(settings.folder),
            verbose=0,
            stop=recorder.stopper,
            callbacks=[recorder],
            failure_config=ray.tune.FailureConfig(max_failures=RETRIES),
        ),
    ).fit()


class Queue(Searcher):
    """Tune's searcher: first the trials that a kill interrupted, then new ones."""

    def __init__(self, log: EventLog, draw: Draw) -> None:
        super().__init__()
        self.log, self.draw = log, draw
        self.left = [trial.name for trial in log.trials if trial.state == "running"]

    def next_trial(self) -> TrialSpec:
        """Return the next trial, and record it in the event log."""
        if not self.left:
            trials = self.log.trials
            name = f"t{len(trials):03d}"
            values, origin = self.draw(trials)
            self.log.begin(name, values, origin)
            self.left.append(name)
        trial = self.log.by_name[self.left.pop(0)]
        return TrialSpec(
            name=trial.name, values=dict(trial.values), run=trial.run, start=trial.start
        )

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the config of the next trial; Tune calls this when resources are free."""
        return None if self.log.failure else {"trial": self.next_trial()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the event log has the results."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: Tune's own restore is not used."""
        Path(checkpoint_path).write_bytes(b"")
