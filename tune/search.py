"""The search: Ray Tune around `trial.run_trial`, Optuna for the next values, ASHA to stop early."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import optuna
import ray
import ray.tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from cyclegan.config import Config, ScaleConfig
from cyclegan.config_file import to_yaml
from cyclegan.errors import ConfigError
from cyclegan.train.plan import total_steps
from cyclegan.train.validate import SELECTION
from data_prep.atomic import write_atomic
from data_prep.progress import progress
from data_prep.ray_session import ray_session
from data_prep.store import Store, open_store
from tune import ledger, space
from tune.space import Choice, Space, Values, apply, values_of
from tune.trial import run_trial

TRIAL_CPUS = 0.1
"""What the process that leads a trial holds, beside its workers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How to search, and where it is kept."""

    folder: Path
    """New folder for the search; absolute, since workers run in other folders."""
    trials: int = 20
    """Runs to train; the first is the base configuration where the space holds it."""
    scheduler: Literal["asha", "none"] = "asha"
    """`asha` stops trials early that are among the worst of those that came as far."""


def search(settings: Search, base: Config, searched: Space) -> None:
    """Train the trials and record each in the ledger as it ends.

    Raises:
        ConfigError: The folder holds a search already, or the cluster has no room for one trial.
    """
    store = open_store(base.store)
    steps = total_steps(base, store)
    create_folder(settings.folder, base, searched)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The ledger keeps the reason of a failure; Tune's traceback of it helps no one here.
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    # Tune ends a trial by killing it; what gives the dead trial's workers back asks the dashboard
    # who is alive. Without one they are kept, and the next trial waits for ever (Ray 2.60).
    with ray_session(dashboard=True), progress("tune", settings.trials) as advance:
        concurrent, cpus = capacity(base.scale, ray.cluster_resources())
        roomy = replace(base, scale=replace(base.scale, cpus_per_worker=cpus))
        trial = ray.tune.with_parameters(run_trial, base=roomy, runs=settings.folder / "runs")
        first = values_of(base, searched)
        ray.tune.Tuner(
            ray.tune.with_resources(trial, {"CPU": TRIAL_CPUS}),
            tune_config=ray.tune.TuneConfig(
                metric=SELECTION,
                mode="min",
                num_samples=settings.trials,
                max_concurrent_trials=concurrent,
                search_alg=OptunaSearch(
                    distributions(searched),
                    metric=SELECTION,
                    mode="min",
                    seed=base.run.seed,
                    points_to_evaluate=[dict(first)] if first else None,
                ),
                scheduler=scheduler(settings.scheduler, base, steps),
            ),
            run_config=ray.tune.RunConfig(
                name="tune",
                storage_path=str(settings.folder),
                verbose=0,
                callbacks=[Recorder(settings.folder / ledger.LEDGER, base, store, advance)],
            ),
        ).fit()


def create_folder(folder: Path, base: Config, searched: Space) -> None:
    """Make a search's folder, with what it starts from."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(
            f"{folder} exists, and a search never writes over another one. Give this one another "
            f"name (--name), or see what that one found: python -m tune report {folder}"
        ) from error
    write_atomic(folder / "base.yaml", to_yaml(base).encode())
    write_atomic(folder / "space.yaml", space.to_yaml(searched).encode())


def capacity(scale: ScaleConfig, cluster: Mapping[str, float]) -> tuple[int, int]:
    """How many trials run at once, and the CPU cores of each of their workers.

    `cluster` is its whole resources. Without `scale.cpus_per_worker` a trial on CPUs gets them all,
    and trials on GPUs, one per worker, share them evenly.

    Raises:
        ConfigError: Not even one trial fits; Ray would wait for ever.
    """
    cpus, gpus = cluster.get("CPU", 0.0), int(cluster.get("GPU", 0))
    use_gpu = scale.gpu == "yes" or (scale.gpu == "auto" and gpus > 0)
    by_gpu = gpus // scale.workers if use_gpu else 1
    share = scale.cpus_per_worker or max(
        1, int((cpus / max(1, by_gpu) - TRIAL_CPUS) / scale.workers)
    )
    by_cpu = int(cpus / (TRIAL_CPUS + scale.workers * share))
    concurrent = min(by_gpu, by_cpu) if use_gpu else by_cpu
    if concurrent < 1:
        raise ConfigError(
            f"a trial needs {TRIAL_CPUS + scale.workers * share:g} CPUs"
            f"{f' and {scale.workers} GPUs' if use_gpu else ''}, but the cluster has {cpus:g} and "
            f"{gpus}, and Ray would wait for ever. Lower --scale.workers or "
            "--scale.cpus_per_worker, or add nodes."
        )
    return concurrent, share


def distributions(searched: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space in Optuna's words."""
    return {
        name: optuna.distributions.CategoricalDistribution(dimension.choice)
        if isinstance(dimension, Choice)
        else optuna.distributions.FloatDistribution(
            dimension.low, dimension.high, log=dimension.log
        )
        for name, dimension in searched.items()
    }


def scheduler(kind: Literal["asha", "none"], base: Config, steps: int) -> TrialScheduler:
    """What stops trials early. It looks when a trial validates, and never before it did once."""
    if kind == "none":
        return FIFOScheduler()
    first_look = min(base.schedule.validate_every_steps or steps, steps)
    return AsyncHyperBandScheduler(
        time_attr="step", max_t=steps, grace_period=first_look, reduction_factor=3
    )


class Recorder(ray.tune.Callback):
    """Writes the ledger, and shows progress, while Tune works."""

    def __init__(
        self, path: Path, base: Config, store: Store, advance: Callable[[int, str], None]
    ) -> None:
        self.path, self.base, self.store, self.advance = path, base, store, advance
        self.scores: dict[str, float] = {}
        self.steps: dict[str, int] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial validated."""
        name = trial.trial_id
        self.scores[name] = min(self.scores.get(name, inf), result[SELECTION])
        self.steps[name] = int(result["step"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended, by itself or by the scheduler."""
        whole = total_steps(apply(self.base, trial.config), self.store)
        reached = self.steps.get(trial.trial_id, 0)
        self.record(trial, "done" if reached >= whole else "stopped")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial raised, or its process died: what it scored before is not to be trusted."""
        self.scores.pop(trial.trial_id, None)
        self.record(trial, "failed", Path(trial.error_file).read_text().strip().splitlines()[-1])

    def record(
        self, trial: Any, state: Literal["done", "stopped", "failed"], reason: str = ""
    ) -> None:
        """One line of the ledger."""
        score = self.scores.get(trial.trial_id, inf)
        values: Values = dict(trial.config)
        ended = ledger.Trial(
            name=trial.trial_id,
            values=values,
            score=score if isfinite(score) else None,
            step=self.steps.get(trial.trial_id, 0),
            state=state,
            reason=reason,
        )
        ledger.append(self.path, ended)
        best = min(self.scores.values(), default=inf)
        self.advance(1, f"best {best:.4g}  last {score:.4g} ({state})")

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks, for a restore that we never do; a progress bar cannot be."""
        return {}
