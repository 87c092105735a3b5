"""Writes the ledger while Tune works, and knows when a search has to end before its end."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import ray.tune

from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.run.signals import STOP
from mrct.errors import ExitCode
from mrct.storage.atomic import write_atomic
from tune.search.console import short, short_name
from tune.search.event_log import Ledger, State
from tune.search.trial import EXIT_CODE, FAILURE, RUN_NAME, Course, Handed

Told = dict[str, Any]


class Ending(ray.tune.Stopper):
    """Whether the search ends now, with trials left that a later one takes up."""

    def __init__(self, ledger: Ledger, time_budget_s: float) -> None:
        self.ledger = ledger
        self.deadline = time.monotonic() + time_budget_s if time_budget_s else float("inf")
        self.signals: list[signal.Signals] = []
        self.full = ""
        """Why storage is full, where it is."""

    def __call__(self, trial_id: str, result: Told) -> bool:
        """No single trial is ended here."""
        return False

    def stop_all(self) -> bool:
        """Asked by Tune between two events."""
        return bool(self.signals or self.full or self.ledger.failure or self.out_of_time)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is used up."""
        return time.monotonic() > self.deadline

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGTERM and SIGINT instead of dying of them."""

        def note(number: int, frame: object) -> None:
            self.signals.append(signal.Signals(number))

        before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def __getstate__(self) -> Told:
        """Tune pickles it, for a restore that we never do."""
        return {}


class Recorder(ray.tune.Callback):
    """One true line for each event."""

    def __init__(
        self, course: Course, ledger: Ledger, ending: Ending, tell: Callable[[str], None]
    ) -> None:
        self.course, self.ledger, self.ending, self.tell = course, ledger, ending, tell
        self.failures: dict[str, str] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or goes on."""
        known = self.ledger.by_name[trial.config["trial"]["name"]]
        values = "  ".join(
            f"{short_name(name)} {short(value)}" for name, value in known.values.items()
        )
        verb = f"goes on from step {known.step}" if known.scores else "begins"
        if known.start and not known.scores:
            verb = f"takes over {known.start}"
        self.tell(f"{known.name} {verb}: {values or 'as the preset is'}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Told, **info: Any
    ) -> None:
        """A trial validated, or cannot go on."""
        handed = trial.config["trial"]
        if FAILURE not in result:
            self.score(handed, result)
        elif result[EXIT_CODE] == ExitCode.STORAGE_FULL:
            self.ending.full = result[FAILURE]
        else:
            self.failures[handed["name"]] = result[FAILURE]

    def score(self, handed: Handed, result: Told) -> None:
        """Take a score down, once, unless the trial has left that run behind since."""
        known = self.ledger.by_name[handed["name"]]
        if result.get(RUN_NAME) != known.run:
            return
        step, score = int(result["step"]), float(result[self.course.objective.metric])
        value = score if isfinite(score) else None
        if any((each.step, each.value) == (step, value) for each in known.scores):
            return
        self.ledger.score(known.name, step, value)
        text = "no finite score" if value is None else f"{value:.4g}"
        self.tell(f"{known.name} step {step} of {self.course.base.train.max_steps}: {text}")

    def ask_to_end(self, run: str) -> None:
        """Have a trial save and end early; its workers look for the file every few steps."""
        write_atomic(self.course.runs / run / STOP, b"")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended by itself, or all do because the search ends."""
        name = trial.config["trial"]["name"]
        if name in self.failures:
            self.end(name, "failed", self.failures[name])
        elif not self.ending.stop_all():
            self.end(name, *self.outcome(name))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's own process died as often as it may."""
        self.end(trial.config["trial"]["name"], "failed", "its process was lost again and again")

    def outcome(self, name: str) -> tuple[State, str]:
        """How a trial that ended by itself went."""
        known = self.ledger.by_name[name]
        if not known.scores:
            return "failed", "it ended before its first validation"
        if known.scores[-1].value is None:
            metric = self.course.objective.metric
            return "failed", f"{metric} was not finite at step {known.step}"
        if known.step >= self.course.base.train.max_steps:
            return "done", ""
        if (self.course.runs / known.run / STOP).exists():
            return "stopped", ""
        return "failed", f"it ended at step {known.step} without a word"

    def end(self, name: str, state: State, reason: str = "") -> None:
        """A trial is over; of its checkpoints the newest and the best stay."""
        self.ledger.end(name, state, reason)
        if not self.course.segments:  # a population's members may be taken over from later
            run_folder = self.course.runs / self.ledger.by_name[name].run
            checkpoint.prune(run_folder, keep_last=1, keep_best=1)
        words = {"done": "is done", "stopped": "was stopped early", "failed": "failed"}
        self.tell(f"{name} {words[state]}" + (f": {reason}" if reason else ""))

    def settle(self) -> None:
        """End the trials that only wanted a last line when an earlier search was killed."""
        for trial in self.ledger.trials:
            asked = (self.course.runs / trial.run / STOP).exists()
            if trial.state == "running" and trial.scores and asked:
                self.end(trial.name, *self.outcome(trial.name))

    def __getstate__(self) -> Told:
        """Tune pickles its callbacks, for a restore that we never do; a table cannot be."""
        return {}
