"""Checks before a run starts or resumes: its folder, its data, and the checkpoint to start from."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from cyclegan.config.config import Config
from cyclegan.config.files import load_config, setting_changes
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.initial_weights import initial_weights
from cyclegan.train.checkpoint.run_record import (
    require_same_axis,
    require_same_grid,
    store_of_run,
)
from data_prep.store.store import Store
from mrct.errors import STORAGE_FULL_ERRNOS
from mrct.storage.lock import exclusive_lock
from mrct.storage.paths import StoragePath, storage_path

STATE_SHAPE = (
    "generator.",
    "discriminator.",
    "batch.",
    "train.pool_size",
    "data.neighbours",
    "data.conditions",
)
"""Settings that a run must share with the checkpoint of another run that it starts from."""
START_CHECKPOINT = "began_at.txt"
"""File in the folder of a run that started from another run's checkpoint, with its path."""


def check_resume(
    config: Config, store: Store, steps: int, resume: Literal["auto", "never"] | StoragePath
) -> StoragePath | None:
    """Refuse to mix two runs in one folder.

    Args:
        config: Configuration of the run, with its name and paths resolved.
        store: The run's store.
        steps: Optimizer steps of the whole run.
        resume: `auto`, `never`, or the path of a run or a checkpoint to start from.

    Returns:
        The checkpoint of another run to start from, if the run starts from one and has no
        checkpoint of its own yet; else None.

    Raises:
        ConfigError: The folder contains a run with other settings or data; or any run, under
            `never`; or a run that did not start from `resume`; or the networks of `resume` or of
            `train.init` do not fit.
        CheckpointError: The given checkpoint is incomplete or damaged.
    """
    earlier, origin = config.run_folder / "config.yaml", start_checkpoint(config.run_folder)
    if earlier.exists():
        if resume != "auto" and not _began_at(config.run_folder, origin, resume):
            raise ConfigError(
                f"Folder {config.run_folder} already contains a run, and --resume {resume} starts "
                "a new one. Give it another name: --run.name NAME."
            )
        if changed := differences(load_config(earlier), config):
            raise ConfigError(
                f"Run {config.run.name} was started with other settings (before -> now):"
                f"{changed}\nOne run would mix two experiments. Use the settings of {earlier} "
                "(--config), or start a new run: --run.name NAME."
            )
        store_of_run(config.run_folder, store)
    if checkpoint.saved_checkpoints(config.run_folder):
        return None
    if resume == "auto" and origin is not None:  # the run ended before its first checkpoint
        resume = origin
    if isinstance(resume, str):
        if config.train.init:
            initial_weights(config, store, steps)  # whatever does not fit is said before Ray starts
        return None
    if config.train.init:
        raise ConfigError(
            f"--resume {resume} continues with all of a checkpoint, and train.init starts with the "
            "weights alone. Give one of the two."
        )
    if (resume / "config.yaml").exists():  # a run stands for its newest checkpoint
        resume = checkpoint.newest_checkpoint(resume) or resume
    step = checkpoint.verify_checkpoint(resume)["step"]
    source = load_config(resume.parent.parent / "config.yaml")
    if changed := differences(source, config, STATE_SHAPE):
        raise ConfigError(
            f"The checkpoint {resume} does not fit this run (its run -> this run):{changed}\n"
            "Use the same values for these settings."
        )
    require_same_grid(resume.parent.parent, store)
    if config.data.conditions or config.generator.guide != "none":
        require_same_axis(resume.parent.parent, store)
    if step >= steps:
        raise ConfigError(
            f"Checkpoint {resume} is at step {step}, and this run would end at step {steps}: there "
            "is nothing to train. Raise --train.max-steps or --train.epochs."
        )
    return resume


def start_checkpoint(run_folder: StoragePath) -> StoragePath | None:
    """Return the checkpoint of another run that this run started from, or None.

    Raises:
        ConfigError: Its file is damaged, and the run has no checkpoint of its own yet.
    """
    path = run_folder / START_CHECKPOINT
    if not path.exists():
        return None
    try:
        return storage_path(path.read_bytes().decode())
    except ValueError as error:
        if not checkpoint.saved_checkpoints(run_folder):
            raise ConfigError(
                f"{path} is damaged ({error}). It names the checkpoint of another run that this "
                "run starts from. Give that again to a new run: --run.name NAME --resume "
                "CHECKPOINT."
            ) from error
        print(
            f"warning: {path} is damaged: at which checkpoint of another run this one began is not "
            "known. It has checkpoints of its own.",
            file=sys.stderr,
        )
        return None


def _began_at(run_folder: StoragePath, origin: StoragePath | None, resume: object) -> bool:
    """Return whether a run began, or may have begun, at the run or checkpoint `resume`."""
    if origin is None:
        return resume != "never" and (run_folder / START_CHECKPOINT).exists()
    return resume in (origin, origin.parent.parent)


def differences(before: Config, now: Config, prefixes: tuple[str, ...] = ("",)) -> str:
    """List the result-changing settings that differ, one per line; empty if none does."""
    return "".join(f"\n  {change}" for change in setting_changes(before, now, prefixes))


def done_steps(run_folder: StoragePath) -> int:
    """Return the step of the newest intact checkpoint, or 0 without one."""
    found = checkpoint.newest_checkpoint(run_folder)
    return int(checkpoint.verify_checkpoint(found)["step"]) if found else 0


def first_step_of(
    config: Config, store: Store, steps: int, resume: Literal["auto", "never"] | StoragePath
) -> int:
    """Return the step that a run would continue from, without changing anything.

    Args and errors are those of `check_resume`.
    """
    if start := check_resume(config, store, steps, resume):
        return int(checkpoint.verify_checkpoint(start)["step"])
    return done_steps(config.run_folder)


@contextmanager
def run_lock(run_folder: StoragePath) -> Iterator[None]:
    """Make the run's folder, and lock the run against other commands within the context.

    Raises:
        ConfigError: Another command is training this run, or nothing can be written there.
    """
    busy = ConfigError(
        f"Another command is training {run_folder} now, or saves after it was stopped; two "
        "commands would overwrite each other's checkpoints. Wait for it, or give this run another "
        "name: --run.name NAME."
    )
    with ExitStack() as lock:
        try:
            with run_folder.reached():
                run_folder.names()
            run_folder.make_folder()
            lock.enter_context(exclusive_lock(run_folder / ".lock", busy))
        except OSError as error:
            if error.errno in STORAGE_FULL_ERRNOS:
                raise
            raise ConfigError(
                f"The run cannot be kept in {run_folder}: {error.strerror or error}. Give it "
                "another folder, --run.storage FOLDER, or another name, --run.name NAME."
            ) from error
        yield
