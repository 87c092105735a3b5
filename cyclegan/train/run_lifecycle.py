"""Operations of a worker on its run: restore, save, validate, roll back."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from math import isfinite

from cyclegan.config.config import Config
from cyclegan.config.files import to_yaml
from cyclegan.metrics.selection_score import SELECTION
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.resume import BEGAN_AT
from cyclegan.train.checkpoint.run_record import record_environment
from cyclegan.train.distributed import Worker, agree, barrier, gathered, highest
from cyclegan.train.engine.state import TrainState
from cyclegan.train.engine.step import Engine
from cyclegan.train.monitor.telemetry import Telemetry
from cyclegan.train.validation import findings, summed_up
from data_prep.store.store import Store
from mrct.storage.paths import StoragePath, storage_path

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run in progress on one worker. All workers must call each method alike."""

    config: Config
    worker: Worker
    store: Store
    state: TrainState
    engine: Engine
    telemetry: Telemetry
    report: Report
    told_to_stop: Callable[[], bool]
    machine_goes: Callable[[], bool]
    """Whether the cluster has announced a new preemption of a node of this run."""

    def look(self, since_s: float, steps: int) -> tuple[bool, bool, float, float]:
        """Check for stop requests, preemptions and skipped updates on all workers.

        This synchronises host and device, and all workers.

        Args:
            since_s: Time of the previous check, in seconds of `time.monotonic`.
            steps: Steps since then.

        Returns:
            Whether to stop, whether a node will be preempted, the number of consecutive skipped
            updates, and the seconds per step of the slowest worker.
        """
        streak = float(self.state.streak)  # waits for the device, so the steps are over
        step_s = (time.monotonic() - since_s) / steps
        own = [float(self.told_to_stop()), float(self.machine_goes()), streak, step_s]
        stop, leave, longest, slowest_s = highest(self.state.streak.new_tensor(own))
        return stop > 0, leave > 0, longest, slowest_s

    def save(self, score: float | None) -> None:
        """Commit a checkpoint, then delete those that are no longer kept."""
        folder, worker, schedule = self.config.run_folder, self.worker, self.config.schedule
        checkpoint.save(
            self.state,
            folder,
            score=score,
            attempt=agree(lambda: secrets.token_hex(4), worker),
            leads=worker.leads,
            barrier=barrier,
            gather=lambda words: gathered(words, worker),
        )
        if worker.leads:
            checkpoint.prune(folder, schedule.keep_last, schedule.keep_best)
        self.telemetry.settle()

    def validate(self, *, to_its_end: bool) -> tuple[float | None, bool]:
        """Score the running mean of the weights on the val split, and report the scores.

        The volumes are divided among the workers. A stop request cancels the validation between
        two volumes, unless `to_its_end`.

        Returns:
            The selection score on worker 0, else None; and whether the validation was cancelled.
        """
        metrics: dict[str, float] = {}
        state, telemetry, worker = self.state, self.telemetry, self.worker
        own = findings(
            state.mean.to_ct,
            state.mean.to_mri,
            self.store,
            self.config,
            device=worker.device,
            share=(worker.rank, worker.world_size),
            give_up=lambda: not to_its_end and self.told_to_stop(),
        )
        if any(highest(state.streak.new_tensor([float(own is None)]))):
            return None, True
        found = chain.from_iterable(gathered(own or [], worker))
        if worker.leads:
            metrics, picture = summed_up(found, self.store, self.config)
            telemetry.write(state.step, metrics)
            telemetry.picture(state.step, "val/cycles", picture)
            metrics = {name: value for name, value in metrics.items() if isfinite(value)}
        self.report(metrics | {"step": float(state.step)})
        return metrics.get(SELECTION), False

    def go_back(self, why: str) -> None:
        """Roll back to the last checkpoint before the non-finite updates, and halve the rates.

        Later checkpoints are deleted: they may already be close to divergence.
        """
        state, folder, rollbacks = self.state, self.config.run_folder, self.state.rollbacks
        target = storage_path(agree(lambda: str(checkpoint.way_back(folder)), self.worker))
        checkpoint.restore(state, target)
        state.rollbacks = rollbacks + 1
        if self.worker.leads:
            for later in reversed(checkpoint.saved(folder)):
                if later.name > target.name:
                    checkpoint.discard(later)
        self.telemetry.go_on_from(state.step)
        self.telemetry.note(
            state.step,
            f"warning: {why} The run continues from step {state.step} with halved learning rates.",
        )


def take_up(
    state: TrainState, config: Config, worker: Worker, store: Store, start: StoragePath | None
) -> bool:
    """Restore the newest intact checkpoint of the run, or `start`; worker 0 chooses for all.

    Returns:
        Whether the run has a checkpoint of its own.
    """
    own = agree(lambda: str(checkpoint.newest(config.run_folder) or ""), worker)
    if found := own or str(start or ""):
        checkpoint.restore(state, storage_path(found))
    if worker.leads:
        config.run_folder.make_folder()
        checkpoint.sweep(config.run_folder)
        if start and not own:
            (config.run_folder / BEGAN_AT).put(str(start).encode())
        (config.run_folder / "config.yaml").put(to_yaml(config).encode())
        record_environment(config.run_folder, store, worker.world_size)
    return bool(own)
