"""Search for the best settings of a training.

Start with the weights of the losses, on a preset that takes minutes:

  python -m tune run weights --preset demo --data.store brain.zarr --trials 6
  python -m tune report runs/weights-demo
"""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional, arg

from cyclegan.config.files import resolve
from cyclegan.config.flags import Sections, sections_of
from cyclegan.config.presets import PRESETS, preset
from cyclegan.config.run_location import store_moves_explained
from cyclegan.config.run_storage import runs_folder
from mrct.cli import optional, parse_group, parse_known, run_command
from mrct.errors import ExitCode, UsageError
from mrct.host_limits import require_for_training
from mrct.job_stop import outlive_job_stop
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath
from tune.space.space import SPACES
from tune.time_budget import seconds

TUNE_COMMAND = "python -m tune"


@dataclass(frozen=True, kw_only=True, slots=True)
class BasePreset:
    """The preset that the trials start from."""

    preset: Annotated[str, arg(metavar="PRESET", help=f"One of {', '.join(PRESETS)}.")] = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCommand(BasePreset):
    """Train many runs with different settings, and rank them by a score of the val split.

      python -m tune run weights --preset demo --data.store brain.zarr --trials 6

    Every setting is also a flag, --section.field VALUE, that changes the starting point.
    """

    HELP_OPTIONS: ClassVar = (
        "preset",
        "space",
        "trials",
        "sampler",
        "scheduler",
        "metric",
        "max_concurrent",
        "time_budget",
        "name",
        "storage",
        "resume",
    )
    HELP_DETAILS: ClassVar = """
SPACE is weights, weights-and-schedules, full, or a YAML file with lines such as

  loss.cycle.weight: {low: 1, high: 30, log: true}
  optimizer.schedule: {choice: [linear, cosine]}
  optimizer.decay_start: {low: 0, high: 0.8, when: {optimizer.schedule: linear}}

The preset itself and the reference recipe are the first trials.
"""

    space: Annotated[str, Positional, arg(metavar="SPACE", help_behavior_hint="")] = ""
    """weights, weights-and-schedules, full, or a YAML file."""
    trials: Annotated[int | None, arg(metavar="N", help_behavior_hint="(20; of a grid: all)")] = (
        None
    )
    """Number of runs to train."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """Method that chooses the next values."""
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    """asha repeatedly stops the worse two thirds early; in pbt, bad trials take over weights and
    settings of good ones; none trains all trials to the end."""
    metric: Annotated[str, arg(help_behavior_hint="")] = ""
    """Score of the val split, such as mae_hu, ssim, bone_dice or selection. Default: mae_hu if the
    val split has pairs, else selection."""
    look_every: Annotated[
        int | None, arg(metavar="STEPS", help_behavior_hint="(a ninth of the run)")
    ] = None
    """Steps between validations and decisions of the scheduler."""
    grid_points: int = 3
    """Number of values of each range in a grid."""
    max_concurrent: Annotated[int, arg(help_behavior_hint="(as many as fit)")] = 0
    """Largest number of concurrent trials."""
    time_budget: Annotated[str, arg(metavar="TIME", help_behavior_hint="")] = ""
    """Time limit of the search, such as 8h or 30m; --resume continues it later."""
    name: Annotated[str, arg(help_behavior_hint="(<space>-<preset>)")] = ""
    """Name of the search."""
    storage: Annotated[
        str, arg(metavar="DIR", help_behavior_hint="(CYCLEGAN_STORAGE, else runs)")
    ] = ""
    """Folder that contains the search; a Ray job must be given one."""
    resume: bool = False
    """Continue the search of this name."""
    settings: Sections = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {
            "--trials": self.trials,
            "--look-every": self.look_every,
            "--grid-points": self.grid_points,
        }
        for flag, value in counts.items():
            if value is not None and value < 1:
                raise UsageError(f"{flag} is {value}; it must be at least 1.")
        if self.time_budget:
            seconds(self.time_budget)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportCommand:
    """Report the results of a search so far."""

    folder: Annotated[Path, Positional, arg(metavar="FOLDER")]
    """Folder of the search."""
    compare: Annotated[str, arg(metavar="WHAT", help_behavior_hint="")] = ""
    """Train the best trial and WHAT at full length with new seeds, and test whether the gain is
    real. default: the starting point of the search; reference: Zhu 2017; or a YAML file of settings
    such as `loss.cycle.weight: 1`."""
    seeds: int = 3
    """Number of seeds for --compare."""
    store: Annotated[StoragePath | None, optional("PATH|URL", "that of the search")] = None
    """Store for --compare, pictures and best.yaml, if the search's has moved."""
    pictures: bool = True
    """Show slices of the best and the worst trial."""

    def __post_init__(self) -> None:
        if self.compare and self.seeds < 2:
            raise UsageError(
                f"--seeds is {self.seeds}, but an interval needs at least 2 seeds. Give --seeds 3."
            )


TUNE_COMMANDS = {"run": RunCommand, "report": ReportCommand}


def main(argv: list[str]) -> ExitCode:
    """Run a search, or report its results."""
    base = preset(parse_known(BasePreset, argv, prog=TUNE_COMMAND)[0].preset)
    starts = {"run": RunCommand(preset=base.preset, settings=sections_of(base))}
    match parse_group(TUNE_COMMANDS, argv, prog=TUNE_COMMAND, description=__doc__, defaults=starts):
        case RunCommand() as run:
            return run_search(run)
        case report:
            return run_report(report)


def run_report(command: ReportCommand) -> ExitCode:
    """Run the comparison if requested, and write the report."""
    if not command.folder.is_dir():
        raise UsageError(
            f"There is no {command.folder}; `python -m tune run` prints the folder of its search."
        )
    from tune.report.compare import compare
    from tune.report.report import write_report
    from tune.search.search_folder import open_search

    found = open_search(command.folder, command.store)
    with nullcontext() if command.store else store_moves_explained(found.base, "--store"):
        if command.compare:
            print(compare(found, command.compare, command.seeds))
        return write_report(found, pictures=command.pictures)


def run_search(command: RunCommand) -> ExitCode:
    """Check the settings, run the search, and write the report."""
    if not command.space:
        raise UsageError(
            f"No search space was given. Give one of {', '.join(SPACES)}, or a YAML file."
        )
    base = replace(preset(command.preset), **command.settings)
    storage = folder_of_searches(command.storage or base.run.storage)
    outlive_job_stop(base.scale.grace_s, "--scale.grace-s")  # before any thread starts
    require_for_training()
    if base.train.init:
        from cyclegan.train.checkpoint.weight_source import pin_source

        base = pin_source(base)
    base = resolve(replace(base, run=replace(base.run, storage=str(storage))))
    from data_prep.store.store import open_store

    store = open_store(base.store)  # before what takes longer to import
    from tune.report.report import write_report
    from tune.search.search import search
    from tune.search.search_folder import open_search
    from tune.search.settings import (
        Settings,
        check_population,
        context_of,
        default_look_steps,
        draw_for,
        num_trials,
        open_folder,
        search_lock,
        store_of_search,
        with_fixed_steps,
    )
    from tune.search.trial_score import objective_for
    from tune.space.space_file import load_space

    folder = storage / (command.name or f"{Path(command.space).stem}-{command.preset}")
    store = store_of_search(folder, store)
    base = with_fixed_steps(base, store)
    steps = base.train.max_steps
    space = load_space(command.space, base)
    settings = Settings(
        folder=folder,
        metric=objective_for(store, command.metric).metric,
        look_every_steps=min(steps, command.look_every or default_look_steps(steps)),
        trials=command.trials or num_trials(command.sampler, base, space, command.grid_points),
        sampler=command.sampler,
        scheduler=command.scheduler,
        grid_points=command.grid_points,
        max_concurrent=command.max_concurrent,
        time_budget_s=seconds(command.time_budget) if command.time_budget else 0.0,
        contents=store.contents,
    )
    check_population(settings, space)
    draw = draw_for(settings, base, space)
    with search_lock(settings):
        log = open_folder(settings, base, space, resume=command.resume)
        if doubt := context_of(settings, base).objective.doubt:
            print(doubt)
        print(f"Search       {settings.folder}\nMetric       {settings.metric}", flush=True)
        search(settings, context_of(settings, base), log, draw, space)
    return write_report(open_search(settings.folder, base.store), wanted=settings.trials)


def folder_of_searches(given: str) -> LocalPath:
    """Return the folder that contains searches; see `runs_folder`.

    Raises:
        UsageError: It is a URL.
    """
    storage = runs_folder(given, "--storage")
    if storage.local is None:
        raise UsageError(
            f"The search would be in {storage}; it needs a folder for its event log, not a URL. "
            "Give one that all nodes share, e.g. --storage /shared/searches."
        )
    return storage.local


if __name__ == "__main__":
    run_command(main)
