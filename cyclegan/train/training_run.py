"""Operations of a worker on its run: restore, save, validate, roll back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from math import inf, isfinite
from typing import NamedTuple

from cyclegan.config.config import Config
from cyclegan.config.files import to_yaml
from cyclegan.metrics.selection_score import SELECTION
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.checkpoint.resume import START_CHECKPOINT, start_checkpoint
from cyclegan.train.checkpoint.run_record import record_environment, record_subjects
from cyclegan.train.distributed import (
    Worker,
    broadcast_choice,
    gather,
    max_over_workers,
)
from cyclegan.train.engine.state import TrainState
from cyclegan.train.engine.step import TrainEngine
from cyclegan.train.monitor.telemetry import Telemetry
from cyclegan.train.patience import is_out_of_patience
from cyclegan.train.periodic_events import EVENTS, PeriodicEvents
from cyclegan.train.validation import summarise, validate_volumes
from data_prep.store.store import Store
from mrct.storage.paths import StoragePath, storage_path

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
    events: PeriodicEvents
    report: ReportMetrics
    stop_requested: Callable[[], bool]
    node_preempted: Callable[[], bool]
    """Whether the cluster has announced a new preemption of a node of this run."""
    scores: dict[int, float]
    """`val/selection` of the validations so far by step, on worker 0."""

    def look(self, since_s: float, steps: int) -> Look:
        """Check for stop requests, preemptions and skipped updates on all workers, commit a
        checkpoint that all of them have written, and learn which events are due by the clock.

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
        flags = [asked, self.node_preempted(), self.saving.unfinished]
        own = [streak, step_s, *map(float, flags), *due]
        longest, slowest_s, stop, leave, unfinished, *due = max_over_workers(
            self.state.streak.new_tensor(own)
        )
        if not unfinished:
            self.saving.commit()
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

    def save(self, score: float | None, *, wait: bool = False) -> None:
        """Begin to save a checkpoint while training continues, or wait until it is committed."""
        self.saving.begin(self.state, score)
        if wait:
            self.saving.finish()
        self.telemetry.flush()

    def validate(self, *, to_its_end: bool) -> tuple[float | None, bool]:
        """Score the running mean of the weights on the val split, and report the scores.

        The volumes are divided among the workers. A stop request cancels the validation between
        two volumes, unless `to_its_end`.

        Returns:
            The selection score on worker 0, else None; and whether the validation was cancelled.
        """
        metrics: dict[str, float] = {}
        state, telemetry, worker = self.state, self.telemetry, self.worker
        own = validate_volumes(
            state.mean.to_ct,
            state.mean.to_mri,
            self.store,
            self.config,
            device=worker.device,
            share=(worker.rank, worker.world_size),
            give_up=lambda: not to_its_end and self.stop_requested(),
        )
        if any(max_over_workers(state.streak.new_tensor([float(own is None)]))):
            return None, True
        found = chain.from_iterable(gather(own or [], worker))
        if worker.is_rank_zero:
            metrics, figure = summarise(found, self.store, self.config)
            telemetry.write(state.step, metrics)
            telemetry.write_image(state.step, "val/cycles", figure)
            metrics = {name: value for name, value in metrics.items() if isfinite(value)}
            self.scores[state.step] = metrics.get(SELECTION, inf)
        self.report(metrics | {"step": float(state.step)})
        return metrics.get(SELECTION), False

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
        target = storage_path(
            broadcast_choice(lambda: str(checkpoint.rollback_target(folder)), self.worker)
        )
        checkpoint.restore_checkpoint(state, target)
        state.rollbacks = rollbacks + 1
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


def resume_run(
    state: TrainState, config: Config, worker: Worker, store: Store, start: StoragePath | None
) -> bool:
    """Restore the newest intact checkpoint of the run, or `start`; worker 0 chooses for all.

    Returns:
        Whether the run has a checkpoint of its own.
    """
    own = broadcast_choice(
        lambda: str(checkpoint.newest_checkpoint(config.run_folder) or ""), worker
    )
    if found := own or str(start or ""):
        checkpoint.restore_checkpoint(state, storage_path(found))
    if worker.is_rank_zero:
        config.run_folder.make_folder()
        checkpoint.remove_partial_checkpoints(config.run_folder)
        if start and not own:
            (config.run_folder / START_CHECKPOINT).put(str(start).encode())
        (config.run_folder / "config.yaml").put(to_yaml(config).encode())
        record_environment(config.run_folder, store, worker.world_size)
        record_subjects(config.run_folder, store, start_checkpoint(config.run_folder))
    return bool(own)
