"""From a config to a finished run under Ray Train: the only home of Ray in training.

It checks what can be checked before any worker starts, hands each worker its rank and a report
callback, and shows progress while they work.
"""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypedDict

import ray
import ray.train
import ray.train.torch

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError, PreemptedError, StoppedError
from cyclegan.train.checkpoint.resume import check_resume, done_steps, held
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.console import following
from cyclegan.train.run.resources import cores_of_worker, on_gpus, places
from cyclegan.train.run.signals import (
    Signals,
    end_at_once,
    noted_signals,
    now_and_then,
    run_until_told,
    told_to_stop,
)
from cyclegan.train.run.worker_failures import (
    forget,
    leave_verdict,
    leave_word,
    verdict_left,
    word_left,
)
from cyclegan.train.training_plan import total_steps
from cyclegan.train.validation import chosen, require_mri
from data_prep.store.store import open_store
from mrct.errors import UserError
from mrct.ray_session import WHERE_ADDED, machines, ray_session
from mrct.storage.paths import StoragePath, storage_path

FROZEN_AFTER_S = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
LEAVE_GROUP_WITHIN_S = "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S"
ASK_STORAGE_EVERY_S = 2.0
"""How often a worker looks on an object store whether it is told to stop."""


class Job(TypedDict):
    """What travels to each worker."""

    config: Config
    start: StoragePath | None


def launch(config: Config, resume: Literal["auto", "never"] | StoragePath = "auto") -> bool:
    """Train until the run is done; False when it had been done before.

    Raises:
        UserError: The run cannot start, a worker failed on its input, or a signal stopped it.
    """
    store = open_store(config.store)
    require_mri(store)
    for mri in chosen(store, "mri", "val", config):
        store.partner(mri)
    steps = total_steps(config, store)
    with config.run_folder.reached():
        config.run_folder.names()
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
        if came and (saved := done_steps(config.run_folder)) < steps:
            raise stopped(came, saved, steps, "nothing is lost")
    return True


def stopped(came: Signals, done: int, steps: int, lost: str) -> StoppedError:
    """How far a run got that a signal came to; SIGTERM is a scheduler's."""
    error = PreemptedError if came[0] == signal.SIGTERM else StoppedError
    return error(
        f"stopped by {came[0].name}; saved at step {done} of {steps}, {lost}. "
        "The same command goes on from there."
    )


def fit(
    config: Config,
    start: StoragePath | None = None,
    callbacks: Sequence[ray.train.UserCallback] = (),
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
            **ray_storage(config),
            failure_config=ray.train.FailureConfig(max_failures=config.scale.max_failures),
            callbacks=[Witness(config.run_folder), *callbacks],
        ),
    )
    # Ray's own limit is ten minutes; its controller takes it from here.
    os.environ.setdefault(FROZEN_AFTER_S, str(config.scale.frozen_timeout_s))
    forget(config.run_folder)
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        if verdict := verdict_left(config.run_folder):
            raise verdict from error
        raise
    else:
        if verdict := verdict_left(config.run_folder):
            raise verdict
    finally:
        forget(config.run_folder)


class Witness(ray.train.UserCallback):
    """Sees workers fail, in Ray's controller."""

    def __init__(self, run_folder: StoragePath) -> None:
        self.run_folder = run_folder

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train before it ends the workers and starts them again."""
        # Read here, in the controller. A frozen worker never leaves its group; Ray would wait 30 s.
        os.environ.setdefault(LEAVE_GROUP_WITHIN_S, "5")
        leave_word(self.run_folder, worker_exceptions)


def ray_storage(config: Config) -> dict[str, Any]:
    """Where Ray keeps its own notes on the run: beside it, and reached in the same way."""
    path, filesystem = storage_path(config.run.storage).arrow()
    return {"storage_path": path, "storage_filesystem": filesystem}


def machine_goes() -> Callable[[], bool]:
    """A question for each look, which all workers ask: has Ray said anew that it will take a node
    of this run away, as when a spot instance is reclaimed or a node is drained?"""
    told: set[str] = set()

    def ask() -> bool:
        info = ray.train.get_preemption_info()
        new = set(info.preempted_node_ids) - told if info else set()
        told.update(new)
        return bool(new)

    return ask


def run_worker(job: Job) -> None:
    """What Ray runs on each worker.

    Ray starts workers again after any failure. Where one failed on its input, and would again, the
    message is left in a file, and those that are started again end at once; so they do where the
    command was told to stop.
    """
    run_folder = job["config"].run_folder
    if verdict_left(run_folder) or told_to_stop(run_folder):
        return
    question = partial(told_to_stop, run_folder)
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
            told_to_stop=question
            if run_folder.local
            else now_and_then(question, ASK_STORAGE_EVERY_S),
            machine_goes=machine_goes(),
            notes=word_left(run_folder),
        )
    except (UserError, OSError) as error:
        leave_verdict(run_folder, error)
        raise


def scaling(config: Config) -> ray.train.ScalingConfig:
    """Ask Ray for the workers.

    Raises:
        ConfigError: The cluster can never hold them; Ray would wait for ever.
    """
    scale = config.scale
    nodes = machines()
    use_gpu, share = on_gpus(scale, nodes), cores_of_worker(scale, nodes, scale.workers)
    room = places(scale, nodes, share)
    at_least = scale.min_workers or scale.workers
    if room < at_least:
        raise ConfigError(
            f"{at_least} workers with {share} CPUs{' and a GPU' if use_gpu else ''} each do not "
            f"fit on the cluster: it has room for {room}, and Ray would wait for ever. Start fewer "
            "(--scale.workers), give each less (--scale.cpus-per-worker), or add nodes. "
            f"{WHERE_ADDED}"
        )
    return ray.train.ScalingConfig(
        num_workers=(scale.min_workers, scale.workers) if scale.min_workers else scale.workers,
        use_gpu=use_gpu,
        resources_per_worker={"CPU": share, **({"GPU": scale.gpus_per_worker} if use_gpu else {})},
    )
