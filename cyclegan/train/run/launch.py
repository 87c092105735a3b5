"""Launch of a run under Ray Train; only this module and `process_group` import Ray in training.

Everything that can be checked is checked before any worker starts. Each worker gets its rank and a
report callback; the command shows progress while they train.
"""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Literal, TypedDict

import ray
import ray.train
import ray.train.torch

from cyclegan.config.config import Config
from cyclegan.contrast.run_table import fit_missing_table
from cyclegan.errors import ConfigError, PreemptedError, StoppedError
from cyclegan.train.checkpoint.checkpoint import unscored_checkpoints
from cyclegan.train.checkpoint.resume import check_resume, done_steps, run_lock
from cyclegan.train.checkpoint.run_record import store_of_run
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.console import show_progress
from cyclegan.train.monitor.trackers import require_tracker
from cyclegan.train.run.process_group import ProcessGroupConfig
from cyclegan.train.run.resources import (
    cores_of_worker,
    idle_cores,
    limit_compiling,
    uses_gpus,
    workers_that_fit,
)
from cyclegan.train.run.signals import (
    ask_at_most_every,
    exit_immediately,
    requests_to_stop,
    run_until_stopped,
    stop_requested,
)
from cyclegan.train.run.worker_failures import (
    clear_failure_files,
    read_failure,
    read_fatal_error,
    record_failure,
    record_fatal_error,
)
from cyclegan.train.training_plan import total_steps
from cyclegan.train.validation.patience import is_out_of_patience, past_scores
from cyclegan.train.validation.scores import require_mri, validation_volumes
from data_prep.store.store import open_store
from mrct.errors import UserError
from mrct.progress import say_state
from mrct.ray_session import WHERE_ADDED, machines, named_cluster, ray_session
from mrct.stop_signals import Signals
from mrct.storage.paths import StoragePath, storage_path

HEALTH_CHECK_TIMEOUT_VARIABLE = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
COLLECTIVE_TIMEOUT_VARIABLE = "RAY_TRAIN_COLLECTIVE_TIMEOUT_S"
GROUP_SHUTDOWN_TIMEOUT_VARIABLE = "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S"
STOP_CHECK_INTERVAL_S = 2.0
"""Seconds between two checks for a stop request on an object store."""


class WorkerJob(TypedDict):
    """Arguments sent to each worker."""

    config: Config
    start: StoragePath | None
    cores: int
    """CPU cores of each worker."""
    contents: str
    """Hash of the volumes and splits that all workers have, also after a restart."""


def launch(config: Config, resume: Literal["auto", "never"] | StoragePath = "auto") -> int:
    """Train until the run is finished, ends early by `train.patience`, or pauses at
    `schedule.pause_at_step`.

    Args:
        config: Configuration with its name and paths resolved.
        resume: `auto` resumes the run if it exists, `never` refuses to; a path is a run or a
            checkpoint to start from.

    Returns:
        The step that the run is saved at; 0 if it had already been finished before.

    Raises:
        UserError: The run cannot start, a worker failed on its input, or a signal stopped it.
    """
    require_tracker(config)
    store = open_store(config.store)
    require_mri(store)
    for mri in validation_volumes(store, "mri", "val", config):
        store.partner(mri)
    with named_cluster(), run_lock(config.run_folder):
        store = store_of_run(config.run_folder, store)
        steps = total_steps(config, store)
        start = check_resume(config, store, steps, resume)
        done = done_steps(config.run_folder)
        scores = past_scores(config.run_folder, done)
        has_ended = done >= steps or is_out_of_patience(
            list(scores.values()), config.train.patience
        )
        if has_ended and not unscored_checkpoints(config.run_folder):
            return 0
        if done:
            print(f"Resuming from step {done} of {steps}", flush=True)
        with (
            ray_session(),  # before the signals: Ray installs its own handler of SIGTERM
            requests_to_stop(config.run_folder) as received,
            show_progress(config.run_folder, total_steps=steps, first_step=done),
        ):
            say_state(f"Starting {state_before_the_first_step(config)}")
            train = partial(fit, config, start)
            if not run_until_stopped(train, config.run_folder, received, config.scale.grace_s):
                lost = "later steps are lost because the workers had no time to save"
                exit_immediately(
                    stopped_error(received, done_steps(config.run_folder), steps, lost)
                )
        saved = done_steps(config.run_folder)
        if received and saved < steps:
            raise stopped_error(received, saved, steps, "nothing is lost")
    return saved


def state_before_the_first_step(config: Config) -> str:
    """Return what is started, and what takes long before the first step."""
    workers = f"{config.scale.workers} worker{'s' * (config.scale.workers > 1)}"
    delays = {
        "no": "",
        "blocks": "; they compile the residual blocks first, in seconds",
        "all": "; they compile the networks first, which takes minutes unless it was done before",
    }
    return workers + delays[config.train.compile]


def stopped_error(received: Signals, done: int, steps: int, lost: str) -> StoppedError:
    """Return the error of a run stopped by a signal; only Ctrl-C is somebody's own wish."""
    error = StoppedError if received[0] == signal.SIGINT else PreemptedError
    return error(
        f"Stopped by {received[0].name}; saved at step {done} of {steps}, {lost}. "
        "Run the same command again to resume."
    )


def fit(
    config: Config,
    start: StoragePath | None = None,
    callbacks: Sequence[ray.train.UserCallback] = (),
    contents: str | None = None,
) -> None:
    """Run the workers to the end on the Ray cluster that this process is connected to.

    `contents` is the hash of the volumes and splits that they have; see `store_of_run`.

    Raises:
        UserError: A worker failed on its input, or the cluster cannot fit the workers.
    """
    store = store_of_run(config.run_folder, open_store(config.store), contents)
    if config.generator.guide != "none":
        fit_missing_table(config.run_folder, store, None, say_state)
    scaling = scaling_config(config)
    cores = int(scaling.resources_per_worker["CPU"])
    trainer = ray.train.torch.TorchTrainer(
        run_worker,
        train_loop_config=WorkerJob(
            config=config, start=start, cores=cores, contents=store.contents
        ),
        torch_config=ProcessGroupConfig(timeout_s=config.scale.collective_timeout_s),
        scaling_config=scaling,
        run_config=ray.train.RunConfig(
            name=config.run.name,
            **ray_storage(config),
            failure_config=ray.train.FailureConfig(max_failures=config.scale.max_failures),
            callbacks=[FailureRecorder(config.run_folder), *callbacks],
        ),
    )
    # Ray's defaults are ten minutes and none; its controller reads the limits from the environment.
    os.environ.setdefault(HEALTH_CHECK_TIMEOUT_VARIABLE, str(config.scale.frozen_timeout_s))
    os.environ.setdefault(COLLECTIVE_TIMEOUT_VARIABLE, str(config.scale.collective_timeout_s))
    clear_failure_files(config.run_folder)
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        if fatal_error := read_fatal_error(config.run_folder):
            raise fatal_error from error
        raise
    else:
        if fatal_error := read_fatal_error(config.run_folder):
            raise fatal_error
    finally:
        clear_failure_files(config.run_folder)


class FailureRecorder(ray.train.UserCallback):
    """Callback in Ray's controller that records failures of workers."""

    def __init__(self, run_folder: StoragePath) -> None:
        self.run_folder = run_folder

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Record the failures; Ray Train calls this before it restarts the workers."""
        # Ray reads this in the controller. A frozen worker never leaves its process group, and Ray
        # would wait for it for 30 s.
        os.environ.setdefault(GROUP_SHUTDOWN_TIMEOUT_VARIABLE, "5")
        record_failure(self.run_folder, worker_exceptions)


def ray_storage(config: Config) -> dict[str, Any]:
    """Return where Ray keeps its own records of the run: beside it, on the same storage."""
    path, filesystem = storage_path(config.run.storage).arrow()
    return {"storage_path": path, "storage_filesystem": filesystem}


def node_preempted() -> Callable[[], bool]:
    """Return a function that checks whether Ray has announced a new preemption of a node.

    A node is preempted when a spot instance is reclaimed or the node is drained. Each announcement
    counts once. All workers must call the function alike.
    """
    entries: set[str] = set()

    def ask() -> bool:
        info = ray.train.get_preemption_info()
        new = set(info.preempted_node_ids) - entries if info else set()
        entries.update(new)
        return bool(new)

    return ask


def run_worker(job: WorkerJob) -> None:
    """Train on one worker; Ray calls this on each.

    Ray restarts the workers after any failure. If a worker failed on its input, and would fail
    again, its message is written to a file, and restarted workers return at once. They also return
    at once after a stop request.
    """
    run_folder = job["config"].run_folder
    if read_fatal_error(run_folder) or stop_requested(run_folder):
        return
    limit_compiling(os.environ, job["cores"])
    question = partial(stop_requested, run_folder)
    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=ray.train.torch.get_device(),
        cores=job["cores"],
    )
    try:
        train_worker(
            job["config"],
            worker,
            report=ray.train.report,
            start=job["start"],
            stop_requested=question
            if run_folder.local
            else ask_at_most_every(question, STOP_CHECK_INTERVAL_S),
            node_preempted=node_preempted(),
            notes=chain(read_failure(run_folder), idle_cores(os.environ, job["cores"])),
            contents=job["contents"],
        )
    except (UserError, OSError) as error:
        record_fatal_error(run_folder, error)
        raise


def scaling_config(config: Config) -> ray.train.ScalingConfig:
    """Return the resources to request from Ray for the workers.

    Raises:
        ConfigError: The cluster cannot fit the workers; Ray would wait indefinitely.
    """
    scale = config.scale
    nodes = machines()
    use_gpu, share = uses_gpus(scale, nodes), cores_of_worker(scale, nodes, scale.workers)
    room = workers_that_fit(scale, nodes, share)
    at_least = scale.min_workers or scale.workers
    if room < at_least:
        raise ConfigError(
            f"{at_least} workers with {share} CPUs{' and a GPU' if use_gpu else ''} each do not "
            f"fit on the cluster: it has room for {room}, and Ray would wait indefinitely. "
            "Start fewer workers (--scale.workers), request fewer CPUs for each "
            "(--scale.cpus-per-worker), or add nodes. "
            f"{WHERE_ADDED}"
        )
    return ray.train.ScalingConfig(
        num_workers=(scale.min_workers, scale.workers) if scale.min_workers else scale.workers,
        use_gpu=use_gpu,
        resources_per_worker={"CPU": share, **({"GPU": scale.gpus_per_worker} if use_gpu else {})},
    )
