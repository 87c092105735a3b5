"""A worker's part of a run: taking up a checkpoint, saving, validating, going back."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from math import isfinite

import torch

from cyclegan.config import Config
from cyclegan.config_file import to_yaml
from cyclegan.train import checkpoint
from cyclegan.train.environment import record_environment
from cyclegan.train.state import TrainState
from cyclegan.train.step import Engine
from cyclegan.train.telemetry import Telemetry
from cyclegan.train.validate import SELECTION, findings, summed_up
from cyclegan.train.workers import Worker, agree, barrier, gathered, highest
from data_prep.place import Place, make_folder, place, put
from data_prep.store import Store

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """All that a worker needs to go on from its state's step; every method is for all workers."""

    config: Config
    worker: Worker
    store: Store
    state: TrainState
    engine: Engine
    telemetry: Telemetry
    report: Report
    told_to_stop: Callable[[], bool]
    machine_goes: Callable[[], bool]
    """Whether the cluster has said anew that it will take a machine of this run away."""

    def look(self) -> tuple[bool, bool, float]:
        """Whether any worker is told to stop, whether a machine will go, and how many updates in a
        row were skipped; a sync between host and device and between workers."""
        streak = self.state.streak
        told = streak.new_tensor([float(self.told_to_stop()), float(self.machine_goes())])
        stop, leave, longest = highest(torch.cat([told, streak[None]]))
        return stop > 0, leave > 0, longest

    def save(self, score: float | None) -> None:
        """Commit a checkpoint, then let older ones go."""
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

    def validate(self) -> float | None:
        """Score the running mean on the val split, each worker its share of the volumes, and tell
        the launcher; returns the selection score, on worker 0."""
        metrics: dict[str, float] = {}
        state, telemetry, worker = self.state, self.telemetry, self.worker
        own = findings(
            state.mean.to_ct,
            state.mean.to_mri,
            self.store,
            self.config,
            device=worker.device,
            share=(worker.rank, worker.world_size),
        )
        found = chain.from_iterable(gathered(own, worker))
        if worker.leads:
            metrics, picture = summed_up(found, self.store, self.config)
            telemetry.write(state.step, metrics)
            telemetry.picture(state.step, "val/cycles", picture)
            metrics = {name: value for name, value in metrics.items() if isfinite(value)}
        self.report(metrics | {"step": float(state.step)})
        return metrics.get(SELECTION)

    def go_back(self, why: str) -> None:
        """Take up the last checkpoint from before the updates that were not finite, at half the
        rates. Later checkpoints are deleted: they stand on the brink."""
        state, folder, rollbacks = self.state, self.config.run_folder, self.state.rollbacks
        target = place(agree(lambda: str(checkpoint.healthy(folder)), self.worker))
        if self.worker.leads:
            for later in reversed(checkpoint.saved(folder)):
                if later.name > target.name:
                    checkpoint.discard(later)
        checkpoint.restore(state, target)
        state.rollbacks = rollbacks + 1
        self.telemetry.go_on_from(state.step)
        self.telemetry.note(
            state.step,
            f"warning: {why} The run goes on from step {state.step} with half of the rates.",
        )


def take_up(
    state: TrainState, config: Config, worker: Worker, store: Store, start: Place | None
) -> bool:
    """Restore the newest whole checkpoint of the run, or `start`; worker 0 chooses for all.

    Returns whether the run has a checkpoint of its own.
    """
    own = agree(lambda: str(checkpoint.newest(config.run_folder) or ""), worker)
    if found := own or str(start or ""):
        checkpoint.restore(state, place(found))
    if worker.leads:
        make_folder(config.run_folder)
        checkpoint.sweep(config.run_folder)
        put(config.run_folder / "config.yaml", to_yaml(config).encode())
        record_environment(config.run_folder, store, worker.world_size)
    return bool(own)
