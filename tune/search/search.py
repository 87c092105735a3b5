"""Run a search with Ray Tune, from the first trial or from the end of an event log."""

import logging
import os
import shutil
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune.search import Searcher

from cyclegan.errors import PreemptedError, StoppedError
from mrct.errors import StorageFullError
from mrct.ray_session import machines, ray_session
from tune.search.callbacks import Ending, Recorder
from tune.search.console import shown
from tune.search.event_log import Ledger
from tune.search.resources import Room, room_for
from tune.search.schedulers import rungs, scheduler
from tune.search.settings import Draw, Settings
from tune.search.trial import Course, Handed, run_trial
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


def search(settings: Settings, course: Course, ledger: Ledger, draw: Draw, space: Space) -> None:
    """Train the remaining trials of `settings.trials`, and record all events in the event log.

    Raises:
        ConfigError: The cluster has no room for one trial.
        StoppedError: A signal was received; a later search continues.
        StorageFullError: A disk is full; a later search continues.
    """
    os.environ |= QUIET
    warnings.filterwarnings("ignore", "Consider boosting PBT")
    # It expects the scores in Tune's own storage; the event log has them.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel("ERROR")
    ending = Ending(ledger, settings.time_budget_s)
    # After losing a worker, Ray Train asks the dashboard which nodes are alive; without it the
    # worker's resources stay reserved, and the next trial waits forever (Ray 2.60).
    with (
        ray_session(dashboard=True),
        ending.listening(),
        shown(lambda: ledger.trials, settings.trials, course.objective) as tell,
    ):
        recorder = Recorder(course, ledger, ending, tell)
        recorder.settle()
        left = [trial for trial in ledger.trials if trial.state == "running"]
        num_left = len(left) + max(0, settings.trials - len(ledger.trials))
        if num_left:
            room = room_for(course.base.scale, machines(), num_left, settings.max_concurrent)
            tell(f"{num_left} trials to train, {room.text}; {looks(settings, course)}")
            run(settings, in_room(course, room), ledger, draw, space, recorder, num_left, room)
    if came := ending.signals:
        error = PreemptedError if came[0] == signal.SIGTERM else StoppedError
        raise error(f"Stopped by {came[0].name}. {unfinished(ledger, settings)}")
    if ledger.failure:
        raise ledger.failure
    if ending.full:
        raise StorageFullError(
            f"Storage is full: {ending.full} Free some space. {unfinished(ledger, settings)}"
        )


def unfinished(ledger: Ledger, settings: Settings) -> str:
    """Return a sentence about the remaining trials of an interrupted search."""
    ended = sum(trial.state != "running" for trial in ledger.trials)
    return (
        f"{ended} of {settings.trials} trials ended; the same command with --resume continues the "
        "others from their last checkpoints."
    )


def looks(settings: Settings, course: Course) -> str:
    """Return when the scheduler decides, as text."""
    steps, every = course.base.train.max_steps, course.look_every_steps
    if settings.scheduler == "asha":
        decides = ", ".join(map(str, rungs(every, steps)))
        return f"{steps} steps, the worse two thirds end early at {decides}"
    if settings.scheduler == "pbt":
        return f"{steps} steps, the worst quarter takes over from the best every {every}"
    return f"{steps} steps each"


def in_room(course: Course, room: Room) -> Course:
    """Return the course with each trial's share of the cluster."""
    scale = replace(
        course.base.scale,
        cpus_per_worker=room.cpus_per_worker,
        gpu="yes" if room.use_gpu else "no",
    )
    return replace(course, base=replace(course.base, scale=scale))


def run(
    settings: Settings,
    course: Course,
    ledger: Ledger,
    draw: Draw,
    space: Space,
    recorder: Recorder,
    num_left: int,
    room: Room,
) -> None:
    """Run the trials with Tune and wait for them."""
    queue = Queue(ledger, draw)
    by_population = settings.scheduler == "pbt"
    # Tune allows no searcher with a population, whose members it needs to know at the start.
    members = [queue.following() for _ in range(num_left)] if by_population else []
    shutil.rmtree(
        settings.folder / "tune", ignore_errors=True
    )  # Ray's own state of an earlier search
    ray.tune.Tuner(
        ray.tune.with_resources(ray.tune.with_parameters(run_trial, course=course), room.leader),
        param_space={"trial": ray.tune.grid_search(members)} if members else {},
        tune_config=ray.tune.TuneConfig(
            num_samples=1 if members else num_left,
            # All members of a population start, and some pause; the memory of the processes that
            # lead them is the limit.
            max_concurrent_trials=None if members else room.concurrent,
            search_alg=None if members else queue,
            scheduler=scheduler(
                settings.scheduler,
                course,
                ledger,
                space=space,
                seed=course.base.run.seed,
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
            stop=recorder.ending,
            callbacks=[recorder],
            failure_config=ray.tune.FailureConfig(max_failures=RETRIES),
        ),
    ).fit()


class Queue(Searcher):
    """Tune's searcher: first the trials that a kill interrupted, then new ones."""

    def __init__(self, ledger: Ledger, draw: Draw) -> None:
        super().__init__()
        self.ledger, self.draw = ledger, draw
        self.left = [trial.name for trial in ledger.trials if trial.state == "running"]

    def following(self) -> Handed:
        """Return the next trial, and record it in the event log."""
        if not self.left:
            trials = self.ledger.trials
            name = f"t{len(trials):03d}"
            values, origin = self.draw(trials)
            self.ledger.begin(name, values, origin)
            self.left.append(name)
        trial = self.ledger.by_name[self.left.pop(0)]
        return Handed(name=trial.name, values=dict(trial.values), run=trial.run, start=trial.start)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the config of the next trial; Tune calls this when resources are free."""
        return None if self.ledger.failure else {"trial": self.following()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the event log has the results."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: Tune's own restore is not used."""
        Path(checkpoint_path).write_bytes(b"")
