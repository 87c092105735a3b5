"""`python -m tune run SPACE ...` and `python -m tune report FOLDER`: find settings by trying."""

import argparse
import sys
from pathlib import Path

import tyro
from rich.console import Console

from cyclegan.config import Config
from cyclegan.config_file import resolve
from cyclegan.presets import PRESETS, preset
from data_prep.errors import ExitCode, UsageError, run_command
from tune.report import open_search, table, write_best
from tune.search import Search, search
from tune.space import SPACES, load_space

RUN = f"""Train many runs with other settings each, and rank them by the selection score of the val
split (lower is better).

SPACE is one of {", ".join(SPACES)},
or a YAML file with lines such as
  loss.cycle_weight: {{low: 1, high: 30, log: true}}
  optimizer.schedule: {{choice: [linear, cosine]}}
The flags just below are no settings; all others are, and change what the trials start from."""


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
    run.add_argument("space", metavar="SPACE", nargs="?", help="where to search")
    run.add_argument(
        "--preset", default="default", help=f"what the trials start from: {', '.join(PRESETS)}"
    )
    run.add_argument("--trials", type=int, default=20, help="runs to train (20)")
    run.add_argument(
        "--scheduler",
        choices=("asha", "none"),
        default="asha",
        help="asha (default) stops bad trials early, none never does",
    )
    run.add_argument("--name", help="of the search; default: <space>-<preset>")
    run.add_argument("--storage", default="runs", help="folder that holds the search (runs)")
    run.add_argument("--help", "-h", action="store_true", help="show this and all settings")
    report = commands.add_parser("report", help="show what a search found so far")
    report.add_argument("folder", type=Path, help="the search's folder")
    return parser, run


def main(argv: list[str]) -> ExitCode:
    """Search, or show what was found."""
    parser, run = arguments()
    flags, rest = parser.parse_known_args(argv)
    if flags.command == "report":
        if rest:
            raise UsageError(f"`tune report` takes a folder only, not {' '.join(rest)}.")
        return show(flags.folder)
    if flags.help:
        print(run.format_help())
        rest = ["--help"]
    elif flags.space is None:
        raise UsageError(f"which space? One of {', '.join(SPACES)}, or a YAML file.")
    if flags.trials < 1:
        raise UsageError(f"--trials is {flags.trials}; a search needs at least 1.")
    base = resolve(
        tyro.cli(Config, default=preset(flags.preset), args=rest, prog=f"{run.prog} SPACE")
    )
    name = flags.name or f"{Path(flags.space).stem}-{flags.preset}"
    folder = Path(flags.storage).expanduser().absolute() / name
    settings = Search(folder=folder, trials=flags.trials, scheduler=flags.scheduler)
    search(settings, base, load_space(flags.space, base))
    return show(folder, flags.trials)


def show(folder: Path, wanted: int = 0) -> ExitCode:
    """Print the table, write the best configuration. Exit code 3 if fewer trials went well."""
    _, trials = open_search(folder)
    Console().print(table(trials))
    best = write_best(folder)
    print(f"best: {best}\n  python -m cyclegan.train --config {best}")
    worked = [trial for trial in trials if trial.state != "failed"]
    if len(worked) < max(wanted, len(trials)):
        print(f"{len(worked)} of {max(wanted, len(trials))} trials went well.")
        return ExitCode.PARTLY_DONE
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
