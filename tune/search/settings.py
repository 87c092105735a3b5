"""How a search is made, and the files in its folder that say so."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from cyclegan.config.config import Config
from cyclegan.config.files import decisive, load_config, to_yaml
from cyclegan.config.presets import reference
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint.resume import STATE_SHAPE
from cyclegan.train.training_plan import total_steps
from data_prep.store.store import Store
from mrct.errors import UsageError
from mrct.storage.atomic import write_atomic
from mrct.storage.local_path import LocalPath
from tune.search.event_log import LEDGER, Ledger, Trial
from tune.search.sampler import next_values
from tune.search.schedulers import REDUCTION
from tune.search.trial import RUNS, Course
from tune.search.trial_score import Objective
from tune.space import space_file
from tune.space.space import Space, Values, grid, values_of
from tune.space.space_file import load_space

BASE, SPACE, SETTINGS = "base.yaml", "space.yaml", "search.json"
CHANGEABLE_ON_RESUME = ("folder", "trials", "max_concurrent", "time_budget_s")
Draw = Callable[[list[Trial]], tuple[Values, str]]
"""Values for the trial that comes after those, and where they come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to search, and where it is kept."""

    folder: LocalPath
    """Of the search; absolute, since workers run in other folders."""
    metric: str
    """Name in `metrics.jsonl` of what is made better."""
    look_every_steps: int
    """Steps from one validation of a trial to the next."""
    trials: int = 20
    """Runs to train, the base and the reference recipe among them."""
    sampler: str = "tpe"
    """`tpe`, `random` or `grid`."""
    scheduler: str = "asha"
    """`asha`, `pbt` or `none`."""
    grid_points: int = 3
    """Values of each range in a grid."""
    max_concurrent: int = 0
    """Trials at once; 0: as many as fit."""
    time_budget_s: float = 0.0
    """After this much time the search ends, and can go on later; 0: never."""


def look_for(steps: int) -> int:
    """Steps to the first look: a ninth of the run, so that two thirds end there and two thirds of
    the rest at a third of the run."""
    return max(1, steps // REDUCTION**2)


def fixed(base: Config, store: Store) -> Config:
    """The base with its number of steps spelled out: the schedules' horizon of every trial."""
    return replace(base, train=replace(base.train, max_steps=total_steps(base, store)))


def course_of(settings: Settings, base: Config) -> Course:
    """What the trials share."""
    return Course(
        base=base,
        runs=settings.folder / RUNS,
        objective=Objective(metric=settings.metric),
        look_every_steps=settings.look_every_steps,
        segments=settings.scheduler == "pbt",
    )


def open_folder(settings: Settings, base: Config, space: Space, *, resume: bool) -> Ledger:
    """Make the search's folder, or take up what is in it.

    Raises:
        ConfigError: It holds a search and `resume` is off, or that was another one.
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
        return Ledger(folder / LEDGER)
    if not resume:
        raise ConfigError(
            f"{folder} holds a search already, and a new one never writes over it. Go on with it: "
            "the same command with --resume. See what it found: "
            f"python -m tune report {folder}. Begin another one: --name NAME."
        )
    before = load_settings(folder)
    changes = [
        f"{name}: {before[name]} -> {value}"
        for name, value in kept.items()
        if before[name] != value
    ]
    earlier, now = decisive(load_config(folder / BASE)), decisive(base)
    changes += [
        f"{name}: {earlier[name]} -> {now[name]}" for name in now if earlier[name] != now[name]
    ]
    # A comparison searches nothing, and its empty space is no space file of a user's.
    known = load_space(str(folder / SPACE), base) if space else {}
    changes += [
        f"space: {name}" for name in {**known, **space} if known.get(name) != space.get(name)
    ]
    if changes:
        raise ConfigError(
            f"the search {folder.name} was begun in another way (before -> now):\n  "
            + "\n  ".join(changes)
            + "\nIts trials would not compare. Use the same, or begin another one: --name NAME."
        )
    return Ledger(folder / LEDGER)


def load_settings(folder: LocalPath) -> dict[str, object]:
    """What a search's folder says of how it is made.

    Raises:
        UsageError: It holds no search.
    """
    path = folder / SETTINGS
    if not path.exists():
        raise UsageError(
            f"{folder} holds no search: there is no {SETTINGS} in it. Name the folder that "
            "`python -m tune run` printed."
        )
    values: dict[str, object] = json.loads(path.read_text())
    return values


def draw_for(settings: Settings, base: Config, space: Space) -> Draw:
    """Where the values of each trial come from: the base, the reference recipe, then the sampler.

    Raises:
        ConfigError: A grid has more points than trials were asked for.
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
            f"this grid has {len(first) + len(points)} trials, and --trials {settings.trials} "
            "would leave out most of one corner. Give fewer --grid-points, a smaller space, or "
            "--sampler random, which spreads any number of trials."
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
            # A population begins before anything is known, and a grid's end is random.
            kind=settings.sampler if settings.scheduler != "pbt" else "random",
            seed=base.run.seed,
        )
        return values, ""

    return draw


def first_points(base: Config, space: Space) -> list[tuple[Values, str]]:
    """The base as it is and the reference recipe (Zhu 2017), in the space's words."""
    own = values_of(base, space, base)
    published = values_of(reference(), space, base)
    return [(own, "base")] + [(published, "reference")] * (published != own)


def grid_of(settings: Settings, base: Config, space: Space) -> list[Values]:
    """All points of the grid."""
    return grid(space, base, settings.grid_points)


def num_trials(sampler: str, base: Config, space: Space, grid_points: int) -> int:
    """Of a search that names no number: all of a grid, else 20."""
    if sampler != "grid":
        return 20
    first = first_points(base, space)
    known = [values for values, _ in first]
    points = grid(space, base, grid_points)
    return len(first) + sum(values not in known for values in points)


def check_population(settings: Settings, space: Space) -> None:
    """Refuse what population-based training cannot do.

    Raises:
        ConfigError: The space changes the networks, or there is nobody to take over from.
    """
    if settings.scheduler != "pbt":
        return
    if fast := [name for name in space if name.startswith(STATE_SHAPE)]:
        raise ConfigError(
            f"the space searches {', '.join(fast)}, which cannot change amid a run: a checkpoint "
            "would not fit any more. Leave it out (weights-and-schedules does), or use "
            "--scheduler asha."
        )
    if settings.trials < 2:
        raise ConfigError("a population needs at least 2 trials (--trials).")
