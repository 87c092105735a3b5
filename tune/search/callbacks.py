"""Callbacks of Ray Tune: write the event log, and stop a search early."""

import time
from collections.abc import Callable
from math import isfinite
from typing import Any

import ray.tune

from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.run.signals import STOP
from mrct.errors import ExitCode
from mrct.stop_signals import Signals
from mrct.storage.atomic import write_atomic
from tune.search.console import short_name, short_value
from tune.search.event_log import EventLog, State
from tune.search.trial import EXIT_CODE, FAILURE, RUN_NAME, TrialContext, TrialSpec

TrialReport = dict[str, Any]


class SearchStopper(ray.tune.Stopper):
    """Stops the search early; a later one continues the remaining trials."""

    def __init__(self, log: EventLog, time_budget_s: float, signals: Signals) -> None:
        self.log, self.signals = log, signals
        self.deadline = time.monotonic() + time_budget_s if time_budget_s else float("inf")
        self.full = ""
        """Error message if storage is full, else empty."""
        self.outage = ""
        """Error message if storage could not be reached, else empty."""

    def __call__(self, trial_id: str, result: TrialReport) -> bool:
        """Never stop a single trial here."""
        return False

    def stop_all(self) -> bool:
        """Return whether to stop the search; Tune calls this between two events."""
        return bool(
            self.signals or self.full or self.outage or self.log.failure or self.out_of_time
        )

    @property
    def out_of_time(self) -> bool:
        """Return whether the time budget is used up."""
        return time.monotonic() > self.deadline

    def __getstate__(self) -> TrialReport:
        """Return an empty state: Tune pickles it for its own restore, which is not used."""
        return {}


class TrialRecorder(ray.tune.Callback):
    """Records each event in the event log."""

    def __init__(
        self,
        context: TrialContext,
        log: EventLog,
        stopper: SearchStopper,
        tell: Callable[[str], None],
    ) -> None:
        self.context, self.log, self.stopper, self.tell = context, log, stopper, tell
        self.failures: dict[str, str] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that a trial begins or resumes."""
        known = self.log.by_name[trial.config["trial"]["name"]]
        values = "  ".join(
            f"{short_name(name)} {short_value(value)}" for name, value in known.values.items()
        )
        verb = f"resumes from step {known.step}" if known.scores else "begins"
        if known.start and not known.scores:
            verb = f"takes over {known.start}"
        if self.context.segments:
            self.prune_population()
        self.tell(f"{known.name} {verb}: {values or 'the values of the preset'}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: TrialReport, **info: Any
    ) -> None:
        """Record a validation or a failure of a trial."""
        spec = trial.config["trial"]
        if FAILURE not in result:
            self.score(spec, result)
        elif result[EXIT_CODE] == ExitCode.STORAGE_FULL:
            self.stopper.full = result[FAILURE]
        elif result[EXIT_CODE] == ExitCode.PREEMPTED:
            self.stopper.outage = result[FAILURE]
        else:
            self.failures[spec["name"]] = result[FAILURE]

    def score(self, spec: TrialSpec, result: TrialReport) -> None:
        """Record a score once, unless the trial has moved to another run since."""
        known = self.log.by_name[spec["name"]]
        if result.get(RUN_NAME) != known.run:
            return
        step, score = int(result["step"]), float(result[self.context.objective.metric])
        value = score if isfinite(score) else None
        if any((each.step, each.value) == (step, value) for each in known.scores):
            return
        self.log.score(known.name, step, value)
        text = "no finite score" if value is None else f"{value:.4g}"
        self.tell(f"{known.name} step {step} of {self.context.base.train.max_steps}: {text}")

    def ask_to_end(self, run: str) -> None:
        """Request that a trial saves and ends early; its workers check for the file every few
        steps."""
        write_atomic(self.context.runs / run / STOP, b"")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the outcome of a trial that ended, unless the whole search ends."""
        name = trial.config["trial"]["name"]
        if name in self.failures:
            self.end(name, "failed", self.failures[name])
        elif not self.stopper.stop_all():
            self.end(name, *self.outcome(name))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the failure of a trial whose process was lost too often."""
        self.end(trial.config["trial"]["name"], "failed", "its process was lost repeatedly")

    def outcome(self, name: str) -> tuple[State, str]:
        """Return the outcome of a trial that ended by itself."""
        known = self.log.by_name[name]
        if not known.scores:
            return "failed", "it ended before its first validation"
        if known.scores[-1].value is None:
            metric = self.context.objective.metric
            return "failed", f"{metric} was not finite at step {known.step}"
        if known.step >= self.context.base.train.max_steps:
            return "done", ""
        if (self.context.runs / known.run / STOP).exists():
            return "stopped", ""
        return "failed", f"it exited at step {known.step} without reporting an error"

    def end(self, name: str, state: State, reason: str = "") -> None:
        """End a trial; only its newest and its best checkpoint are kept."""
        self.log.end(name, state, reason)
        if self.context.segments:
            self.prune_population()
        else:
            run_folder = self.context.runs / self.log.by_name[name].run
            checkpoint.prune_checkpoints(run_folder, keep_last=1, keep_best=1)
        words = {"done": "is done", "stopped": "was stopped early", "failed": "failed"}
        self.tell(f"{name} {words[state]}" + (f": {reason}" if reason else ""))

    def prune_population(self) -> None:
        """Delete the checkpoints of runs that members of a population have left, and, once all have
        ended, all but the newest and the best of each; until then another may take over from
        them."""
        runs, trials = self.context.runs, self.log.trials
        needed = {trial.run for trial in trials} | {
            trial.start.partition("/")[0]  # it has not begun there yet
            for trial in trials
            if not checkpoint.saved_checkpoints(runs / trial.run)
        }
        for name in runs.names():
            for left in checkpoint.saved_checkpoints(runs / name) if name not in needed else ():
                checkpoint.discard_checkpoint(left)
        for trial in trials if all(trial.state != "running" for trial in trials) else ():
            checkpoint.prune_checkpoints(runs / trial.run, keep_last=1, keep_best=1)

    def settle(self) -> None:
        """End the trials that had stopped before an earlier search was killed without recording
        it."""
        for trial in self.log.trials:
            asked = (self.context.runs / trial.run / STOP).exists()
            if trial.state == "running" and trial.scores and asked:
                self.end(trial.name, *self.outcome(trial.name))

    def __getstate__(self) -> TrialReport:
        """Return an empty state: Tune pickles callbacks for its own restore, which is not used."""
        return {}
