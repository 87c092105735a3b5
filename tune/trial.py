"""One trial: a run of the trainer in a folder of its own, whose scores go to Ray Tune."""

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback

from cyclegan.config import Config
from cyclegan.train.launch import fit
from cyclegan.train.validate import SELECTION
from tune.space import Values, apply


class ReportScore(TuneReportCallback):
    """Hands each validation on, with the worst score where none was finite: Tune needs one."""

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Called by Ray Train after all workers reported."""
        super().after_report(run_context, [{SELECTION: inf} | metrics[0]], checkpoint)


def run_trial(values: Values, *, base: Config, runs: Path) -> None:
    """Train `base` with the values of a trial. What Ray runs for each; it holds 0.1 of a core,
    since its workers are Ray Train's own.

    Raises:
        UserError: The run cannot start, or a worker failed on its input.
    """
    name = ray.tune.get_context().get_trial_id()
    config = trial_config(base, values, name, runs)
    fit(config, callbacks=[ReportScore()])


def trial_config(base: Config, values: Values, name: str, runs: Path) -> Config:
    """The configuration of a trial's run."""
    changed = apply(base, values)
    return replace(changed, run=replace(changed.run, name=name, storage=str(runs)))
