"""Callbacks of Ray Tune: write the event log, and stop a search early."""

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
    """Stops the search early; a later one continues the remaining trials."""

    def __init__(self, ledger: Ledger, time_budget_s: float) -> None:
        self.ledger = ledger
        self.deadline = time.monotonic() + time_budget_s if time_budget_s else float("inf")
        self.signals: list[signal.Signals] = []
        self.full = ""
        """Error message if storage is full, else empty."""

    def __call__(self, trial_id: str, result: Told) -> bool:
        """Never stop a single trial here."""
        return False

    def stop_all(self) -> bool:
        """Return whether to stop the search; Tune calls this between two events."""
        return bool(self.signals or self.full or self.ledger.failure or self.out_of_time)

    @property
    def out_of_time(self) -> bool:
        """Return whether the time budget is used up."""
        return time.monotonic() > self.deadline

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record SIGTERM and SIGINT instead of ending the process."""

        def note(number: int, frame: object) -> None:
            self.signals.append(signal.Signals(number))

        before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def __getstate__(self) -> Told:
        """Return an empty state: Tune pickles it for its own restore, which is not used."""
        return {}


class Recorder(ray.tune.Callback):
    """Records each event in the event log."""

    def __init__(
        self, course: Course, ledger: Ledger, ending: Ending, tell: Callable[[str], None]
    ) -> None:
        self.course, self.ledger, self.ending, self.tell = course, ledger, ending, tell
        self.failures: dict[str, str] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that a trial begins or resumes."""
        known = self.ledger.by_name[trial.config["trial"]["name"]]
        values = "  ".join(
            f"{short_name(name)} {short(value)}" for name, value in known.values.items()
        )
        verb = f"resumes from step {known.step}" if known.scores else "begins"
        if known.start and not known.scores:
            verb = f"takes over {known.start}"
        self.tell(f"{known.name} {verb}: {values or 'the values of the preset'}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Told, **info: Any
    ) -> None:
        """Record a validation or a failure of a trial."""
        handed = trial.config["trial"]
        if FAILURE not in result:
            self.score(handed, result)
        elif result[EXIT_CODE] == ExitCode.STORAGE_FULL:
            self.ending.full = result[FAILURE]
        else:
            self.failures[handed["name"]] = result[FAILURE]

    def score(self, handed: Handed, result: Told) -> None:
        """Record a score once, unless the trial has moved to another run since."""
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
        """Request that a trial saves and ends early; its workers check for the file every few
        steps."""
        write_atomic(self.course.runs / run / STOP, b"")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the outcome of a trial that ended, unless the whole search ends."""
        name = trial.config["trial"]["name"]
        if name in self.failures:
            self.end(name, "failed", self.failures[name])
        elif not self.ending.stop_all():
            self.end(name, *self.outcome(name))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the failure of a trial whose process was lost too often."""
        self.end(trial.config["trial"]["name"], "failed", "its process was lost repeatedly")

    def outcome(self, name: str) -> tuple[State, str]:
        """Return the outcome of a trial that ended by itself."""
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
        return "failed", f"it exited at step {known.step} without reporting an error"

    def end(self, name: str, state: State, reason: str = "") -> None:
        """End a trial; only its newest and its best checkpoint are kept."""
        self.ledger.end(name, state, reason)
        if not self.course.segments:  # other members of a population may take over from them later
            run_folder = self.course.runs / self.ledger.by_name[name].run
            checkpoint.prune(run_folder, keep_last=1, keep_best=1)
        words = {"done": "is done", "stopped": "was stopped early", "failed": "failed"}
        self.tell(f"{name} {words[state]}" + (f": {reason}" if reason else ""))

    def settle(self) -> None:
        """End the trials that had stopped before an earlier search was killed without recording
        it."""
        for trial in self.ledger.trials:
            asked = (self.course.runs / trial.run / STOP).exists()
            if trial.state == "running" and trial.scores and asked:
                self.end(trial.name, *self.outcome(trial.name))

    def __getstate__(self) -> Told:
        """Return an empty state: Tune pickles callbacks for its own restore, which is not used."""
        return {}
