"""`python -m tune run SPACE ...` and `python -m tune report FOLDER`: find settings by trying."""

import argparse
import sys
from pathlib import Path

import tyro

from cyclegan.config import Config
from cyclegan.config_file import resolve
from cyclegan.presets import PRESETS, preset
from data_prep.errors import ExitCode, UsageError, run_command
from data_prep.local_path import LocalPath
from data_prep.lock import exclusive
from data_prep.store import open_store
from tune.compare import compare
from tune.found import open_search
from tune.objective import objective_for
from tune.report import publish
from tune.search import search
from tune.settings import (
    Settings,
    check_population,
    course_of,
    draw_for,
    fixed,
    look_for,
    num_trials,
    open_folder,
    seconds,
)
from tune.space import SPACES
from tune.space_file import load_space

RUN = f"""Train many runs with other settings each, and rank them by a score of the val split.

SPACE is one of {", ".join(SPACES)},
or a YAML file with lines such as
  loss.cycle.weight: {{low: 1, high: 30, log: true}}
  optimizer.schedule: {{choice: [linear, cosine]}}
  optimizer.decay_start: {{low: 0, high: 0.8, when: {{optimizer.schedule: linear}}}}
The preset itself and the reference recipe are the first trials. The flags just below are no
settings; all others are, and change what the trials start from."""


def arguments() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The flags of both commands that are not settings of a run; the second parser is `run`'s."""
    parser = argparse.ArgumentParser(prog="python -m tune", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="search",
        description=RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add = run.add_argument
    add("space", metavar="SPACE", nargs="?", help="where to search")
    add("--preset", default="default", help=f"what the trials start from: {', '.join(PRESETS)}")
    add("--trials", type=int, help="runs to train (20; of a grid: all)")
    add(
        "--sampler", choices=("tpe", "random", "grid"), default="tpe", help="what to try next (tpe)"
    )
    add(
        "--scheduler",
        choices=("asha", "pbt", "none"),
        default="asha",
        help="asha (default) stops the worse two thirds early, again and again; pbt lets bad "
        "trials take over weights and settings of good ones; none trains all to the end",
    )
    add(
        "--metric",
        default="",
        help="score of the val split, such as mae_hu, ssim, bone_dice or selection (mae_hu where "
        "the val split has pairs, else selection)",
    )
    add("--look-every", type=int, metavar="STEPS", help="steps between looks (a ninth of the run)")
    add("--grid-points", type=int, default=3, help="values of each range in a grid (3)")
    add("--max-concurrent", type=int, default=0, help="trials at once (as many as fit)")
    add("--time-budget", help="end after this time, such as 8h or 30m; --resume goes on later")
    add("--name", help="of the search; default: <space>-<preset>")
    add("--storage", default="runs", help="folder that holds the search (runs)")
    add("--resume", action="store_true", help="go on with the search of this name")
    add("--help", "-h", action="store_true", help="show this and all settings")
    report = commands.add_parser("report", help="show what a search found so far")
    report.add_argument("folder", type=Path, help="the search's folder")
    report.add_argument(
        "--compare",
        metavar="WHAT",
        help="train the best and WHAT at full length with new seeds, and tell whether the gain is "
        "real; default: what the search started from, reference: Zhu 2017, or a YAML file of "
        "settings such as `loss.cycle.weight: 1`",
    )
    report.add_argument("--seeds", type=int, default=3, help="of --compare (3)")
    report.add_argument(
        "--no-pictures", action="store_true", help="leave out slices of the best and the worst"
    )
    return parser, run


def main(argv: list[str]) -> ExitCode:
    """Search, or show what was found."""
    parser, run = arguments()
    flags, rest = parser.parse_known_args(argv)
    if flags.command == "report":
        if rest:
            raise UsageError(f"`tune report` takes a folder only, not {' '.join(rest)}.")
        if flags.compare and flags.seeds < 2:
            raise UsageError(f"--seeds is {flags.seeds}; an interval needs at least 2.")
        if flags.compare:
            print(compare(open_search(flags.folder), flags.compare, flags.seeds))
        return publish(flags.folder, pictures=not flags.no_pictures)
    if flags.help:
        print(run.format_help())
        rest = ["--help"]
    elif flags.space is None:
        raise UsageError(f"which space? One of {', '.join(SPACES)}, or a YAML file.")
    return run_search(flags, rest, f"{run.prog} SPACE")


def run_search(flags: argparse.Namespace, rest: list[str], prog: str) -> ExitCode:
    """Check all that can be checked, search, and report."""
    counts = {
        "--trials": flags.trials,
        "--look-every": flags.look_every,
        "--grid-points": flags.grid_points,
    }
    for flag, value in counts.items():
        if value is not None and value < 1:
            raise UsageError(f"{flag} is {value}; it must be at least 1.")
    if "://" in flags.storage:
        raise UsageError(
            f"--storage is {flags.storage}; a search keeps its ledger in a folder. Name one that "
            "all nodes share, e.g. --storage /shared/searches."
        )
    config = tyro.cli(Config, default=preset(flags.preset), args=rest, prog=prog)
    base = resolve(config)
    store = open_store(base.store)
    base = fixed(base, store)
    steps = base.train.max_steps
    space = load_space(flags.space, base)
    settings = Settings(
        folder=LocalPath(flags.storage).expanduser().absolute()
        / (flags.name or f"{Path(flags.space).stem}-{flags.preset}"),
        metric=objective_for(store, flags.metric).metric,
        look_every_steps=min(steps, flags.look_every or look_for(steps)),
        trials=flags.trials or num_trials(flags.sampler, base, space, flags.grid_points),
        sampler=flags.sampler,
        scheduler=flags.scheduler,
        grid_points=flags.grid_points,
        max_concurrent=flags.max_concurrent,
        time_budget_s=seconds(flags.time_budget) if flags.time_budget else 0.0,
    )
    check_population(settings, space)
    draw = draw_for(settings, base, space)
    settings.folder.mkdir(parents=True, exist_ok=True)
    busy = UsageError(
        f"another command searches in {settings.folder} now. Wait for it, or give this search "
        "another --name."
    )
    with exclusive(settings.folder / ".lock", busy):
        ledger = open_folder(settings, base, space, resume=flags.resume)
        print(f"search       {settings.folder}\nmetric       {settings.metric}", flush=True)
        search(settings, course_of(settings, base), ledger, draw, space)
    return publish(settings.folder, wanted=settings.trials)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
