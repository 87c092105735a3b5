"""Operations of a worker on its run: restore, save, validate, roll back."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple

from cyclegan.config.config import Config
from cyclegan.metrics.selection_score import SELECTION
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.distributed import Worker, broadcast_choice, max_over_workers
from cyclegan.train.engine.state import TrainState
from cyclegan.train.engine.step import TrainEngine
from cyclegan.train.monitor.telemetry import Telemetry
from cyclegan.train.periodic_events import EVENTS, PeriodicEvents
from cyclegan.train.validation.background import BackgroundValidation, Validated
from cyclegan.train.validation.patience import is_out_of_patience
from data_prep.store.store import Store
from mrct.storage.paths import storage_path

VALIDATION_OWED = ".validation"
"""File in the run folder while a validation that was given up has not been made up for."""
ReportMetrics = Callable[[dict[str, float]], None]


class Look(NamedTuple):
    """What all workers know after a look."""

    stop: bool
    """Whether to stop."""
    leave: bool
    """Whether a node will be preempted."""
    streak: float
    """Number of consecutive skipped updates."""
    step_s: float
    """Seconds per step of the slowest worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """A run in progress on one worker. All workers must call each method alike."""

    config: Config
    worker: Worker
    store: Store
    state: TrainState
    channels_last: bool
    """Whether weights and features have the channels_last memory layout."""
    engine: TrainEngine
    telemetry: Telemetry
    saving: BackgroundSave
    validation: BackgroundValidation
    events: PeriodicEvents
    report: ReportMetrics
    stop_requested: Callable[[], bool]
    node_preempted: Callable[[], bool]
    """Whether the cluster has announced a new preemption of a node of this run."""
    scores: dict[int, float]
    """`val/selection` of the validations so far by step, on worker 0."""

    def look(self, since_s: float, steps: int) -> Look:
        """Check for stop requests, preemptions and skipped updates on all workers, commit a
        checkpoint that all of them have written, report scores that all of them have computed, and
        learn which events are due by the clock.

        This synchronises host and device, and all workers. Worker 0 alone reads the storage, and
        its clock alone counts.

        Args:
            since_s: Time of the previous check, in seconds of `time.monotonic`.
            steps: Steps since then.
        """
        streak = float(self.state.streak)  # waits for the device, so the steps are over
        step_s = (time.monotonic() - since_s) / steps
        asked, due = False, [0.0] * len(EVENTS)
        if self.worker.is_rank_zero:
            asked = self.stop_requested() or self.ends_early()
            due = self.events.due_by_clock(self.state.step, self.saving.took_s)
            if self.validation.in_progress:
                due[EVENTS.index("validate")] = 0.0
        flags = [asked, self.node_preempted(), self.saving.unfinished, self.validation.unfinished]
        own = [streak, step_s, *map(float, flags), *due]
        longest, slowest_s, stop, leave, writing, scoring, *due = max_over_workers(
            self.state.streak.new_tensor(own)
        )
        if not writing:
            self.saving.commit()
        if not scoring and self.validation.in_progress:
            with self.events.holds("validate"):
                self.report_scores(self.validation.advance())
        self.events.take(due)
        return Look(stop > 0, leave > 0, longest, slowest_s)

    def ends_early(self) -> bool:
        """Return whether the validations have stopped getting better, and log it; worker 0 alone
        knows."""
        patience = self.config.train.patience
        if not is_out_of_patience(list(self.scores.values()), patience):
            return False
        best = min(self.scores, key=self.scores.__getitem__)
        self.telemetry.note(
            self.state.step,
            f"The run ends early: {patience} validations were no better than that of step {best} "
            f"({SELECTION} {self.scores[best]:.4g}). A larger --train.patience continues it.",
        )
        return True

    def save(self, *, validated: bool = False, wait: bool = False) -> None:
        """Begin to save a checkpoint while training continues, or wait until it is committed.

        `validated` says whether a validation of this step has begun.
        """
        self.saving.begin(self.state, validated=validated)
        if wait:
            self.saving.finish()
        self.telemetry.flush()

    def validate(self, *, to_its_end: bool) -> bool:
        """Begin to validate the running mean of the weights on the val split.

        The volumes are divided among the workers. A stop request cancels the validation between
        two volumes, unless `to_its_end`.

        Returns:
            Whether it was not cancelled.
        """
        self.finish_validation()
        mean = self.state.mean
        return self.validation.begin(
            (mean.to_ct, mean.to_mri),
            self.state.step,
            lambda: not to_its_end and self.stop_requested(),
        )

    def finish_validation(self) -> None:
        """Wait for the scores of the validation in progress, if there is one, and report them."""
        self.report_scores(self.validation.finish())

    def report_scores(self, result: Validated | None) -> None:
        """Log, report and record the scores of a validation, as of its step."""
        if result is None:
            return
        metrics: dict[str, float] = {}
        if result.summary is not None:
            scores, pictures = result.summary
            self.telemetry.write(result.step, scores)
            self.telemetry.write_images(result.step, pictures)
            metrics = {name: value for name, value in scores.items() if isfinite(value)}
            self.saving.score(result.step, metrics.get(SELECTION))
            self.scores[result.step] = metrics.get(SELECTION, inf)
            if result.restarts:
                self.telemetry.note(
                    self.state.step,
                    f"warning: A process that computes validation scores died, {result.restarts} "
                    "times so far. The training computed the scores itself, and continues.",
                )
        self.report(metrics | {"step": float(result.step)})

    def make_up_scores(self) -> None:
        """Score the checkpoints whose score a kill or a stop has lost, oldest first."""
        folder, device = self.config.run_folder, self.worker.device
        names = broadcast_choice(
            lambda: json.dumps([str(each) for each in checkpoint.unscored_checkpoints(folder)]),
            self.worker,
        )
        for name in json.loads(names):
            path = storage_path(name)
            to_ct, to_mri = checkpoint.load_generators(path, self.config)
            networks = to_ct.to(device), to_mri.to(device)
            step = int(path.name.removeprefix("step_"))
            if not self.validation.begin(networks, step, self.stop_requested):
                return
            self.telemetry.drop_scores(step)  # a kill may have come between the log and the record
            self.finish_validation()

    def owe_validation(self, owed: bool) -> None:
        """Record whether a validation that was due has been given up."""
        if self.worker.is_rank_zero:
            path = self.config.run_folder / VALIDATION_OWED
            path.put(b"") if owed else path.remove()

    def owes_validation(self) -> bool:
        """Return whether the run stopped before a validation that was due."""
        path = self.config.run_folder / VALIDATION_OWED
        return bool(broadcast_choice(lambda: "yes" if path.exists() else "", self.worker))

    def roll_back(self, why: str) -> None:
        """Roll back to the last checkpoint before the non-finite updates, and halve the rates.

        Later checkpoints are deleted: they may already be close to divergence.
        """
        state, folder, rollbacks = self.state, self.config.run_folder, self.state.rollbacks
        table = state.contrast_table  # of the run, which may be younger than the checkpoint
        target = storage_path(
            broadcast_choice(lambda: str(checkpoint.rollback_target(folder)), self.worker)
        )
        checkpoint.restore_checkpoint(state, target)
        state.rollbacks, state.contrast_table = rollbacks + 1, table
        if self.validation.step > state.step:
            self.validation.abandon()
        for step in [each for each in self.scores if each > state.step]:
            del self.scores[step]
        if self.worker.is_rank_zero:
            for later in reversed(checkpoint.saved_checkpoints(folder)):
                if later.name > target.name:
                    checkpoint.discard_checkpoint(later)
        self.telemetry.resume_from(state.step)
        self.telemetry.note(
            state.step,
            f"warning: {why} The run continues from step {state.step} with halved learning rates.",
        )
