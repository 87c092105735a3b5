"""The search: Ray Tune around `trial.run_trial`, from the first trial or where a ledger ends."""

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
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a traceback helps no one; the ledger has the reason
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # snapshots that are never read
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a frame even when told to be quiet
}
"""What Tune would do beside its work."""
RETRIES = 2
"""After the loss of the process that leads a trial; its workers have retries of their own."""


def search(settings: Settings, course: Course, ledger: Ledger, draw: Draw, space: Space) -> None:
    """Train what is left of `settings.trials`, and record all events in the ledger.

    Raises:
        ConfigError: The cluster has no room for one trial.
        StoppedError: A signal came; a later search goes on.
        StorageFullError: A disk is full; a later search goes on.
    """
    os.environ |= QUIET
    warnings.filterwarnings("ignore", "Consider boosting PBT")
    # It misses what Tune would have kept of the trials' scores; the ledger has them.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel("ERROR")
    ending = Ending(ledger, settings.time_budget_s)
    # Where a worker is lost, Ray Train asks the dashboard who is alive; without it the worker's
    # place is kept, and whoever comes next waits for ever (Ray 2.60).
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
        raise error(f"stopped by {came[0].name}. {unfinished(ledger, settings)}")
    if ledger.failure:
        raise ledger.failure
    if ending.full:
        raise StorageFullError(
            f"storage is full: {ending.full} Free some space. {unfinished(ledger, settings)}"
        )


def unfinished(ledger: Ledger, settings: Settings) -> str:
    """What a search that ends before its end leaves."""
    ended = sum(trial.state != "running" for trial in ledger.trials)
    return (
        f"{ended} of {settings.trials} trials ended; the same command with --resume goes on with "
        "the others from their last checkpoints."
    )


def looks(settings: Settings, course: Course) -> str:
    """When the scheduler decides, for people."""
    steps, every = course.base.train.max_steps, course.look_every_steps
    if settings.scheduler == "asha":
        decides = ", ".join(map(str, rungs(every, steps)))
        return f"{steps} steps, the worse two thirds end early at {decides}"
    if settings.scheduler == "pbt":
        return f"{steps} steps, the worst quarter takes over from the best every {every}"
    return f"{steps} steps each"


def in_room(course: Course, room: Room) -> Course:
    """The course with each trial's share of the cluster."""
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
    """Hand the trials to Tune and wait for them."""
    queue = Queue(ledger, draw)
    by_population = settings.scheduler == "pbt"
    # Tune lets no searcher stand beside a population, whose members it wants to know at once.
    members = [queue.following() for _ in range(num_left)] if by_population else []
    shutil.rmtree(settings.folder / "tune", ignore_errors=True)  # Ray's own, of an earlier search
    ray.tune.Tuner(
        ray.tune.with_resources(ray.tune.with_parameters(run_trial, course=course), room.leader),
        param_space={"trial": ray.tune.grid_search(members)} if members else {},
        tune_config=ray.tune.TuneConfig(
            num_samples=1 if members else num_left,
            # A population is begun as a whole, and some pause: the leaders' memory is the limit.
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
    """What to train next, in Tune's words: first the trials that a kill left, then new ones."""

    def __init__(self, ledger: Ledger, draw: Draw) -> None:
        super().__init__()
        self.ledger, self.draw = ledger, draw
        self.left = [trial.name for trial in ledger.trials if trial.state == "running"]

    def following(self) -> Handed:
        """The next trial, which stands in the ledger from now on."""
        if not self.left:
            trials = self.ledger.trials
            name = f"t{len(trials):03d}"
            values, origin = self.draw(trials)
            self.ledger.begin(name, values, origin)
            self.left.append(name)
        trial = self.ledger.by_name[self.left.pop(0)]
        return Handed(name=trial.name, values=dict(trial.values), run=trial.run, start=trial.start)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Called by Tune when there is room for a trial."""
        return None if self.ledger.failure else {"trial": self.following()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn here: the ledger knows."""

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for it, for a restore that we never do."""
        Path(checkpoint_path).write_bytes(b"")
