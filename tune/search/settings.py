"""The settings of a search, and the files in its folder that store them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from cyclegan.config.config import Config
from cyclegan.config.files import load_config, setting_changes, to_yaml
from cyclegan.config.presets import reference
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint.resume import STATE_SHAPE
from cyclegan.train.training_plan import total_steps
from data_prep.store.history import as_of
from data_prep.store.store import Store
from mrct.errors import UsageError
from mrct.storage.atomic import write_atomic
from mrct.storage.json_text import parse_json
from mrct.storage.local_path import LocalPath, make_output_folder
from mrct.storage.lock import exclusive_lock
from tune.search.event_log import EVENT_LOG, EventLog, Trial
from tune.search.sampler import next_values
from tune.search.schedulers import REDUCTION
from tune.search.trial import RUNS, TrialContext
from tune.search.trial_score import Objective
from tune.space import space_file
from tune.space.space import Space, Values, grid, values_of
from tune.space.space_file import load_space

BASE, SPACE, SETTINGS = "base.yaml", "space.yaml", "search.json"
CHANGEABLE_ON_RESUME = ("folder", "trials", "max_concurrent", "time_budget_s")
Draw = Callable[[list[Trial]], tuple[Values, str]]
"""Function from the trials so far to the values of the next trial and their origin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of a search, and its folder."""

    folder: LocalPath
    """Folder of the search; absolute, since workers run in other folders."""
    metric: str
    """Name of the optimised score in `metrics.jsonl`."""
    look_every_steps: int
    """Steps from one validation of a trial to the next."""
    trials: int = 20
    """Number of runs to train, including the base and the reference recipe."""
    sampler: str = "tpe"
    """`tpe`, `random` or `grid`."""
    scheduler: str = "asha"
    """`asha`, `pbt` or `none`."""
    grid_points: int = 3
    """Number of values of each range in a grid."""
    max_concurrent: int = 0
    """Largest number of concurrent trials; 0: as many as fit."""
    time_budget_s: float = 0.0
    """Time after which the search ends, to be continued later; 0: no limit."""
    contents: str = ""
    """Hash of the volumes and splits that all trials have, also after others were added to the
    store; empty: those that the store has when a trial begins."""


def default_look_steps(steps: int) -> int:
    """Return the steps to the first decision: a ninth of the run, so that two thirds end there and
    two thirds of the rest at a third of the run."""
    return max(1, steps // REDUCTION**2)


def with_fixed_steps(base: Config, store: Store) -> Config:
    """Return the base with an explicit number of steps, which is the horizon of the schedules in
    every trial."""
    return replace(base, train=replace(base.train, max_steps=total_steps(base, store)))


def context_of(settings: Settings, base: Config) -> TrialContext:
    """Return the settings that all trials share."""
    return TrialContext(
        base=base,
        runs=settings.folder / RUNS,
        objective=Objective(metric=settings.metric),
        look_every_steps=settings.look_every_steps,
        contents=settings.contents or None,
        segments=settings.scheduler == "pbt",
    )


@contextmanager
def search_lock(settings: Settings) -> Iterator[None]:
    """Make the folder of a search, and lock it against other commands within the context.

    Raises:
        UsageError: Another command is searching there, or the folder cannot be made.
    """
    make_output_folder(settings.folder)
    busy = UsageError(
        f"Another command is searching in {settings.folder}. Wait for it, or give this search "
        "another --name."
    )
    with exclusive_lock(settings.folder / ".lock", busy):
        yield


def store_of_search(folder: LocalPath, store: Store) -> Store:
    """Return the store with the volumes that a search began with; a new search has all.

    Raises:
        ConfigError: They are not all there, so that its trials would not be comparable.
    """
    contents = load_settings(folder).get("contents") if (folder / SETTINGS).exists() else None
    if earlier := as_of(store, str(contents or store.contents)):
        return earlier
    raise ConfigError(
        f"The search {folder.name} began with volumes of {store.path.name} (index {contents}) that "
        "were changed or removed since, so its trials would not be comparable. Start another "
        "search: --name NAME."
    )


def open_folder(settings: Settings, base: Config, space: Space, *, resume: bool) -> EventLog:
    """Make the folder of a search, or open an existing one to resume.

    Raises:
        ConfigError: The folder contains a search and `resume` is off, or a search with other
            settings.
    """
    folder = settings.folder
    kept = {
        name: value for name, value in asdict(settings).items() if name not in CHANGEABLE_ON_RESUME
    }
    if not (folder / SETTINGS).exists():
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
        write_atomic(folder / BASE, to_yaml(base).encode())
        write_atomic(folder / SPACE, space_file.to_yaml(space).encode())
        write_atomic(folder / SETTINGS, json.dumps(kept, indent=1).encode())  # last
        return EventLog(folder / EVENT_LOG)
    if not resume:
        raise ConfigError(
            f"{folder} already contains a search, and a new one never writes over it. To continue "
            "it: the same command with --resume. To see its results: `python -m tune report "
            f"{folder}`. To start another one: --name NAME."
        )
    before = load_settings(folder)
    changes = [
        f"{name}: {before[name]} -> {value}"
        for name, value in kept.items()
        if before.get(name, value) != value  # earlier versions had fewer
    ]
    changes += setting_changes(load_config(folder / BASE), base)
    # A comparison has no search space.
    known = load_space(str(folder / SPACE), base) if space else {}
    changes += [
        f"space: {name}" for name in {**known, **space} if known.get(name) != space.get(name)
    ]
    if changes:
        raise ConfigError(
            f"The search {folder.name} was started with other settings (before -> now):\n"
            "  " + "\n  ".join(changes) + "\n"
            "Its trials would not be comparable. Use the same settings, or start another search: "
            "--name NAME."
        )
    return EventLog(folder / EVENT_LOG)


def load_settings(folder: LocalPath) -> dict[str, object]:
    """Read the settings of a search from its folder.

    Raises:
        UsageError: The folder contains no search.
    """
    path = folder / SETTINGS
    if not path.exists():
        raise UsageError(
            f"{folder} contains no search: it has no {SETTINGS}. Give the folder that `python -m "
            "tune run` printed."
        )
    try:
        return dict(parse_json(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} is damaged ({error}). Restore it from a copy, or start a new search: python "
            "-m tune run SPACE --name NAME"
        ) from error


def draw_for(settings: Settings, base: Config, space: Space) -> Draw:
    """Return the source of the values of each trial: the base, the reference recipe, then the
    sampler.

    Raises:
        ConfigError: A grid has more points than the requested trials.
    """
    first = first_points(base, space)
    objective = Objective(metric=settings.metric)
    known = [values for values, _ in first]
    points = [
        values
        for values in (grid_of(settings, base, space) if settings.sampler == "grid" else [])
        if values not in known
    ]
    if points and settings.trials < len(first) + len(points):
        raise ConfigError(
            f"This grid has {len(first) + len(points)} trials, and --trials {settings.trials} "
            "would omit the last part of it. Give fewer --grid-points, a smaller space, or "
            "--sampler random, which covers the space with any number of trials."
        )

    def draw(trials: list[Trial]) -> tuple[Values, str]:
        number = len(trials)
        if number < len(first):
            return first[number]
        if number < len(first) + len(points):
            return points[number - len(first)], ""
        values = next_values(
            trials,
            space=space,
            base=base,
            objective=objective,
            # A population starts before there are results, and a complete grid continues randomly.
            kind=settings.sampler if settings.scheduler != "pbt" else "random",
            seed=base.run.seed,
        )
        return values, ""

    return draw


def first_points(base: Config, space: Space) -> list[tuple[Values, str]]:
    """Return the base itself and the reference recipe (Zhu 2017) as points of the space."""
    own = values_of(base, space, base)
    published = values_of(reference(), space, base)
    return [(own, "base")] + [(published, "reference")] * (published != own)


def grid_of(settings: Settings, base: Config, space: Space) -> list[Values]:
    """Return all points of the grid."""
    return grid(space, base, settings.grid_points)


def num_trials(sampler: str, base: Config, space: Space, grid_points: int) -> int:
    """Return the default number of trials: all points of a grid, else 20."""
    if sampler != "grid":
        return 20
    first = first_points(base, space)
    known = [values for values, _ in first]
    points = grid(space, base, grid_points)
    return len(first) + sum(values not in known for values in points)


def check_population(settings: Settings, space: Space) -> None:
    """Check that population-based training can search the space.

    Raises:
        ConfigError: The space changes the networks, or there is only one trial.
    """
    if settings.scheduler != "pbt":
        return
    if fast := [name for name in space if name.startswith(STATE_SHAPE)]:
        raise ConfigError(
            f"The space searches {', '.join(fast)}, which cannot change during a run: a checkpoint "
            "would not fit any more. Leave it out (weights-and-schedules does), or use --scheduler "
            "asha."
        )
    if settings.trials < 2:
        raise ConfigError("A population needs at least 2 trials (--trials).")
