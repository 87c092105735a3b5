"""Whether a run may begin or go on: in its folder, with its data, from the checkpoint it names."""

from contextlib import AbstractContextManager
from typing import Literal

from cyclegan.config.config import Config
from cyclegan.config.files import decisive, load_config
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.run_record import require_same_data, require_same_grid
from data_prep.store.store import Store
from mrct.storage.lock import exclusive
from mrct.storage.paths import StoragePath, storage_path

STATE_SHAPE = (
    "generator.",
    "critic.",
    "batch.",
    "train.pool_size",
    "data.neighbours",
    "data.conditions",
)
"""Settings that a checkpoint must share with the run that begins with it."""
BEGAN_AT = "began_at.txt"
"""In the folder of a run that began at another one's checkpoint: which."""


def check_resume(
    config: Config, store: Store, steps: int, resume: Literal["auto", "never"] | StoragePath
) -> StoragePath | None:
    """Refuse to mix two runs in one folder. Returns the checkpoint of another run to start from, if
    this one is to begin at one and has none of its own yet.

    Raises:
        ConfigError: The folder holds a run with other settings or data, or any run under `never`,
            or one that did not begin at PATH, or the networks of PATH do not fit.
        CheckpointError: The named checkpoint is not whole.
    """
    earlier, origin = config.run_folder / "config.yaml", began_at(config.run_folder)
    if earlier.exists():
        if resume != "auto" and (origin is None or resume not in (origin, origin.parent.parent)):
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
    if checkpoint.saved(config.run_folder):
        return None
    if resume == "auto" and origin is not None:  # it ended before its first save
        resume = origin
    if isinstance(resume, str):
        return None
    if (resume / "config.yaml").exists():  # a run: its newest checkpoint is meant
        resume = checkpoint.newest(resume) or resume
    step = checkpoint.verify(resume)["step"]
    source = load_config(resume.parent.parent / "config.yaml")
    if changed := differences(source, config, STATE_SHAPE):
        raise ConfigError(
            f"the state of {resume} does not fit this run (its run -> this one):{changed}\n"
            "Use the same settings for these."
        )
    require_same_grid(resume.parent.parent, store)
    if step >= steps:
        raise ConfigError(
            f"{resume} is at step {step}, and this run would end at {steps}: there is nothing to "
            "train. Raise --train.max-steps or --train.epochs."
        )
    return resume


def began_at(run_folder: StoragePath) -> StoragePath | None:
    """The checkpoint of another run that this one began at."""
    path = run_folder / BEGAN_AT
    return storage_path(path.read_text()) if path.exists() else None


def differences(before: Config, now: Config, prefixes: tuple[str, ...] = ("",)) -> str:
    """The settings that decide what is computed and differ, a line each; empty if none does."""
    old, new = decisive(before), decisive(now)
    return "".join(
        f"\n  {name}: {old[name]} -> {new[name]}"
        for name in new
        if name.startswith(prefixes) and old[name] != new[name]
    )


def done_steps(run_folder: StoragePath) -> int:
    """The step of the newest whole checkpoint; 0 without one."""
    found = checkpoint.newest(run_folder)
    return int(checkpoint.verify(found)["step"]) if found else 0


def held(run_folder: StoragePath) -> AbstractContextManager[None]:
    """Keep others from the run.

    Raises:
        ConfigError: Another command trains this run now; when the context is entered.
    """
    run_folder.make_folder()
    return exclusive(
        run_folder / ".lock",
        ConfigError(
            f"another command is training {run_folder} now: two would overwrite each other's "
            "checkpoints. Wait for it, or give this run another name: --run.name NAME."
        ),
    )
