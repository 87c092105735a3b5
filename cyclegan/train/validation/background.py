"""Validation in two parts: the networks run while the training waits, the scores come later.

All workers learn at a look that all of them have scored their volumes; worker 0 then combines the
findings, and all learn at a later look that this is done too.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch

from cyclegan.config.config import Config
from cyclegan.inference.slices import Network
from cyclegan.train.distributed import Worker, gather, max_over_workers
from cyclegan.train.validation.figure import Pictures
from cyclegan.train.validation.scorer import Scorer
from cyclegan.train.validation.scores import ValidatedVolume, summarise, validate_volumes
from data_prep.store.store import Store

Summary = tuple[dict[str, float], Pictures]


@dataclass(frozen=True, kw_only=True, slots=True)
class Validated:
    """Result of a validation."""

    step: int
    """Step of the weights that were validated."""
    summary: Summary | None
    """Scores and images of `validation_scores`; None on workers other than 0."""
    restarts: int
    """How often scorer processes of the run have died; 0 on workers other than 0."""


class BackgroundValidation:
    """The validations of a run on one worker, at most one at a time.

    All workers must call each method alike.
    """

    def __init__(self, store: Store, config: Config, worker: Worker, scorer: Scorer) -> None:
        self.store, self.config, self.worker, self.scorer = store, config, worker, scorer
        self.restarts = 0
        self.abandon()

    def abandon(self) -> None:
        """Forget the validation that is in progress."""
        self.step = -1
        self.volumes: list[Future[ValidatedVolume]] = []
        self.summary: Future[Summary] | None = None
        self.is_combining = False

    def begin(
        self,
        networks: tuple[Network, Network],
        step: int,
        give_up: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Translate this worker's share of the volumes with (to CT, to MRI).

        Returns:
            False if a worker gave up between two volumes.
        """
        assert not self.in_progress, "finish() ends the one before"
        worker = self.worker
        own = validate_volumes(
            *networks,
            self.store,
            self.config,
            self.scorer,
            device=worker.device,
            share=(worker.rank, worker.world_size),
            give_up=give_up,
        )
        if any(max_over_workers(torch.tensor([float(own is None)], device=worker.device))):
            return False
        self.step, self.volumes = step, own or []
        return True

    @property
    def in_progress(self) -> bool:
        """Whether a validation has begun and has no result yet; the same on all workers."""
        return self.step >= 0

    @property
    def unfinished(self) -> bool:
        """Whether this worker still computes what the others wait for."""
        futures: list[Future[Any]] = [*self.volumes]
        if self.summary is not None:
            futures.append(self.summary)
        return not all(future.done() for future in futures)

    def advance(self) -> Validated | None:
        """Take the next step of a validation, waiting for this worker's part of it.

        Returns:
            The result of the validation, after its last step.
        """
        if not self.in_progress:
            return None
        if not self.is_combining:
            own = [volume.result() for volume in self.volumes]
            found = gather((own, self.scorer.restarts), self.worker)
            self.volumes, self.is_combining = [], True
            if self.worker.is_rank_zero:
                together = list(chain.from_iterable(volumes for volumes, _ in found))
                self.restarts = sum(restarts for _, restarts in found)
                self.summary = self.scorer.submit(partial(summarise, together, config=self.config))
            return None
        summary = None if self.summary is None else self.summary.result()
        result = Validated(step=self.step, summary=summary, restarts=self.restarts)
        self.abandon()
        return result

    def finish(self) -> Validated | None:
        """Wait for the result of the validation in progress; None without one."""
        result = None
        while self.in_progress:
            result = self.advance()
        return result
