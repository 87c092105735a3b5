"""From a config to a finished run under Ray Train: the only home of Ray in training.

It checks what can be checked before any worker starts, hands each worker its rank and a report
callback, and shows progress while they work.
"""

import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict

import ray
import ray.train
import ray.train.torch
from ray.train.v2.api.exceptions import TrainingFailedError

from cyclegan.config import Config
from cyclegan.config_file import decisive, load_config
from cyclegan.errors import ConfigError, PreemptedError, StoppedError
from cyclegan.train import checkpoint
from cyclegan.train.environment import require_same_data, require_same_grid
from cyclegan.train.interruption import (
    Signals,
    end_at_once,
    noted_signals,
    run_until_told,
    told_to_stop,
)
from cyclegan.train.loop import train_worker
from cyclegan.train.plan import total_steps
from cyclegan.train.telemetry import following
from cyclegan.train.validate import require_mri
from cyclegan.train.workers import Worker
from data_prep.atomic import write_atomic
from data_prep.errors import UserError
from data_prep.lock import exclusive
from data_prep.ray_session import ray_session
from data_prep.store import Store, open_store

VERDICT = ".failed"
"""Where a worker leaves the message of an error that trying again would not mend."""
STATE_SHAPE = (
    "generator.",
    "critic.",
    "batch.",
    "train.pool_size",
    "data.neighbours",
    "data.conditions",
)
"""Settings that a checkpoint must share with the run that begins with it."""


class Job(TypedDict):
    """What travels to each worker."""

    config: Config
    start: Path | None


def launch(config: Config, resume: Literal["auto", "never"] | Path = "auto") -> bool:
    """Train until the run is done; False when it had been done before.

    Raises:
        UserError: The run cannot start, a worker failed on its input, or a signal stopped it.
    """
    store = open_store(config.store)
    require_mri(store)
    steps = total_steps(config, store)
    with held(config.run_folder):
        start = check_resume(config, store, steps, resume)
        done = done_steps(config.run_folder)
        if done >= steps:
            return False
        if done:
            print(f"going on from step {done} of {steps}", flush=True)
        with (
            ray_session(),  # before the signals: Ray puts a handler of its own on SIGTERM
            noted_signals(config.run_folder) as came,
            following(config.run_folder, total_steps=steps, first_step=done),
        ):
            train = partial(fit, config, start)
            if not run_until_told(train, config.run_folder, came, config.scale.grace_s):
                lost = "the workers had no time to save, so later steps are lost"
                end_at_once(stopped(came, done_steps(config.run_folder), steps, lost))
        if came and (reached := done_steps(config.run_folder)) < steps:
            raise stopped(came, reached, steps, "nothing is lost")
    return True


def done_steps(run_folder: Path) -> int:
    """The step of the newest whole checkpoint; 0 without one."""
    found = checkpoint.newest(run_folder)
    return int(checkpoint.verify(found)["step"]) if found else 0


def stopped(came: Signals, done: int, steps: int, lost: str) -> StoppedError:
    """How far a run got that a signal came to; SIGTERM is a scheduler's."""
    error = PreemptedError if came[0] == signal.SIGTERM else StoppedError
    return error(
        f"stopped by {came[0].name}; saved at step {done} of {steps}, {lost}. "
        "The same command goes on from there."
    )


def held(run_folder: Path) -> AbstractContextManager[None]:
    """Keep others from the run.

    Raises:
        ConfigError: Another command trains this run now; when the context is entered.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    return exclusive(
        run_folder / ".lock",
        ConfigError(
            f"another command is training {run_folder} now: two would overwrite each other's "
            "checkpoints. Wait for it, or give this run another name: --run.name NAME."
        ),
    )


def fit(
    config: Config, start: Path | None = None, callbacks: Sequence[ray.train.UserCallback] = ()
) -> None:
    """Run the workers to the end on the Ray that this process is connected to.

    Raises:
        UserError: A worker failed on its input, or the cluster can never hold the workers.
    """
    trainer = ray.train.torch.TorchTrainer(
        run_worker,
        train_loop_config=Job(config=config, start=start),
        torch_config=ray.train.torch.TorchConfig(timeout_s=config.scale.collective_timeout_s),
        scaling_config=scaling(config),
        run_config=ray.train.RunConfig(
            name=config.run.name,
            storage_path=config.run.storage,
            failure_config=ray.train.FailureConfig(max_failures=config.scale.max_failures),
            callbacks=list(callbacks),
        ),
    )
    verdict = config.run_folder / VERDICT
    verdict.unlink(missing_ok=True)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if not verdict.exists():
            raise
        raise UserError(verdict.read_text()) from error
    else:
        if verdict.exists():
            raise UserError(verdict.read_text())
    finally:
        verdict.unlink(missing_ok=True)


def run_worker(job: Job) -> None:
    """What Ray runs on each worker.

    Ray starts workers again after any failure. Where one failed on its input, and would again, the
    message is left in a file, and those that are started again end at once; so they do where the
    command was told to stop.
    """
    run_folder = job["config"].run_folder
    verdict = run_folder / VERDICT
    if verdict.exists() or told_to_stop(run_folder):
        return
    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=ray.train.torch.get_device(),
    )
    try:
        train_worker(
            job["config"],
            worker,
            report=ray.train.report,
            start=job["start"],
            told_to_stop=partial(told_to_stop, run_folder),
        )
    except UserError as error:
        verdict.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(verdict, str(error).encode())
        raise


def check_resume(
    config: Config, store: Store, steps: int, resume: Literal["auto", "never"] | Path
) -> Path | None:
    """Refuse to mix two runs in one folder. Returns the checkpoint to start from, if one is named.

    Raises:
        ConfigError: The folder holds a run with other settings or data, or any run under `never` or
            PATH, or the networks of PATH do not fit.
        CheckpointError: The named checkpoint is not whole.
    """
    earlier = config.run_folder / "config.yaml"
    if earlier.exists():
        if resume != "auto":
            raise ConfigError(
                f"{config.run_folder} already holds a run, and --resume {resume} begins a new one. "
                "Give it another name: --run.name NAME."
            )
        if changed := differences(load_config(earlier), config):
            raise ConfigError(
                f"the run {config.run.name} was started with other settings (before -> now):"
                f"{changed}\nOne run would hold two experiments. Use the settings of {earlier} "
                "(--config), or name a new run: --run.name NAME."
            )
        require_same_data(config.run_folder, store)
    if not isinstance(resume, Path):
        return None
    if (resume / "config.yaml").exists():  # a run: its newest checkpoint is meant
        resume = checkpoint.newest(resume) or resume
    step = checkpoint.verify(resume)["step"]
    source = load_config(resume.absolute().parent.parent / "config.yaml")
    if changed := differences(source, config, STATE_SHAPE):
        raise ConfigError(
            f"the state of {resume} does not fit this run (its run -> this one):{changed}\n"
            "Use the same settings for these."
        )
    require_same_grid(resume.absolute().parent.parent, store)
    if step >= steps:
        raise ConfigError(
            f"{resume} is at step {step}, and this run would end at {steps}: there is nothing to "
            "train. Raise --train.max-steps or --train.epochs."
        )
    return resume.absolute()


def differences(before: Config, now: Config, prefixes: tuple[str, ...] = ("",)) -> str:
    """The settings that decide what is computed and differ, a line each; empty if none does."""
    old, new = decisive(before), decisive(now)
    return "".join(
        f"\n  {name}: {old[name]} -> {new[name]}"
        for name in new
        if name.startswith(prefixes) and old[name] != new[name]
    )


def scaling(config: Config) -> ray.train.ScalingConfig:
    """Ask Ray for the workers.

    Raises:
        ConfigError: The cluster can never hold them; Ray would wait for ever.
    """
    scale = config.scale
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    use_gpu = scale.gpu == "yes" or (
        scale.gpu == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes)
    )
    cpus = int(sum(node.get("CPU", 0) for node in nodes))
    share = scale.cpus_per_worker or max(1, cpus // scale.workers)
    # A worker lives on one node: what is left over on two does not make a third.
    room = sum(
        int(
            min(
                node.get("CPU", 0) // share,
                node.get("GPU", 0) * scale.workers_per_gpu if use_gpu else cpus,
            )
        )
        for node in nodes
    )
    at_least = scale.min_workers or scale.workers
    if room < at_least:
        raise ConfigError(
            f"{at_least} workers with {share} CPUs{' and a GPU' if use_gpu else ''} each do not "
            f"fit on the cluster: it has room for {room}, and Ray would wait for ever. Start fewer "
            "(--scale.workers), give each less (--scale.cpus-per-worker), or add nodes."
        )
    return ray.train.ScalingConfig(
        num_workers=(scale.min_workers, scale.workers) if scale.min_workers else scale.workers,
        use_gpu=use_gpu,
        resources_per_worker={"CPU": share, **({"GPU": scale.gpus_per_worker} if use_gpu else {})},
    )
