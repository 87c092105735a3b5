"""From a config to a finished run under Ray Train: the only home of Ray in training.

It checks what can be checked before any worker starts, hands each worker its rank and a report
callback, and shows progress while they work.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

import ray
import ray.train
import ray.train.torch
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from cyclegan.config import Config
from cyclegan.config_file import decisive, load_config
from cyclegan.errors import ConfigError
from cyclegan.train import checkpoint
from cyclegan.train.environment import require_same_grid
from cyclegan.train.loop import train_worker
from cyclegan.train.placement import Worker
from cyclegan.train.plan import total_steps
from cyclegan.train.telemetry import following
from cyclegan.train.validate import require_mri
from data_prep.errors import UserError
from data_prep.ray_session import ray_session
from data_prep.store import open_store


class Job(TypedDict):
    """What travels to each worker."""

    config: Config
    start: Path | None


def launch(config: Config, resume: Literal["auto", "never"] | Path = "auto") -> bool:
    """Train until the run is done; False when it had been done before.

    Raises:
        UserError: The run cannot start, or a worker failed on its input.
    """
    store = open_store(config.store)
    require_mri(store)
    require_same_grid(config.run_folder, store)
    steps = total_steps(config, store)
    start = check_resume(config, resume)
    found = checkpoint.newest(config.run_folder) or start
    done = checkpoint.verify(found)["step"] if found else 0
    if done >= steps:
        return False
    with ray_session(), following(config.run_folder, total_steps=steps, first_step=done):
        fit(config, start)
    return True


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
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise first_user_error(error) or error from error


def check_resume(config: Config, resume: Literal["auto", "never"] | Path) -> Path | None:
    """Refuse to mix two runs in one folder. Returns the checkpoint to start from, if one is named.

    Raises:
        ConfigError: The folder holds a run with other settings, or any run under `never`.
        CheckpointError: The named checkpoint is not whole.
    """
    earlier = config.run_folder / "config.yaml"
    if isinstance(resume, Path):
        checkpoint.verify(resume)
        return resume.absolute()
    if not earlier.exists():
        return None
    if resume == "never":
        raise ConfigError(
            f"{config.run_folder} already holds a run, and --resume never forbids going on with "
            "it. Give this one another name: --run.name NAME."
        )
    before, now = decisive(load_config(earlier)), decisive(config)
    if changed := [name for name in now if before.get(name) != now[name]]:
        lines = "".join(f"\n  {name}: {before.get(name)} -> {now[name]}" for name in changed)
        raise ConfigError(
            f"the run {config.run.name} was started with other settings (before -> now):{lines}\n"
            "One run would hold two experiments. Use the settings of "
            f"{earlier} (--config), or name a new run: --run.name NAME."
        )
    return None


def scaling(config: Config) -> ray.train.ScalingConfig:
    """Ask Ray for the workers.

    Raises:
        ConfigError: The cluster can never hold them; Ray would wait for ever.
    """
    scale = config.scale
    total = ray.cluster_resources()
    gpus, cpus = int(total.get("GPU", 0)), int(total.get("CPU", 1))
    use_gpu = scale.gpu == "yes" or (scale.gpu == "auto" and gpus > 0)
    at_least = scale.min_workers or scale.workers
    share = scale.cpus_per_worker or max(1, cpus // scale.workers)
    for have, want, name in ((gpus, at_least * use_gpu, "GPUs"), (cpus, at_least * share, "CPUs")):
        if have < want:
            raise ConfigError(
                f"{at_least} workers need {want} {name}, but the cluster has {have}, and Ray would "
                f"wait for ever. Start fewer (--scale.workers), or add nodes."
            )
    return ray.train.ScalingConfig(
        num_workers=(scale.min_workers, scale.workers) if scale.min_workers else scale.workers,
        use_gpu=use_gpu,
        resources_per_worker={"CPU": share, **({"GPU": 1} if use_gpu else {})},
    )


def run_worker(job: Job) -> None:
    """What Ray runs on each worker."""
    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=ray.train.torch.get_device(),
    )
    train_worker(job["config"], worker, report=ray.train.report, start=job["start"])


def first_user_error(error: TrainingFailedError) -> UserError | None:
    """The message for people inside Ray's, where there is one."""
    if isinstance(error, WorkerGroupError):
        for failure in error.worker_failures.values():
            cause: BaseException | None = failure
            while cause is not None:
                if isinstance(cause, UserError):
                    return cause
                cause = cause.__cause__
    return None
