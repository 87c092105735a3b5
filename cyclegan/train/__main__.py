"""`python -m cyclegan.train [PRESET] [--section.field value] ...`: train a pair of translators."""

import argparse
import sys
from pathlib import Path

import tyro

from cyclegan.config import Config
from cyclegan.config_file import load_config, resolve
from cyclegan.errors import ConfigError
from cyclegan.presets import PRESETS, preset
from cyclegan.train.launch import launch
from cyclegan.train.plan import make_plan
from cyclegan.train.rehearsal import rehearse
from data_prep.errors import ExitCode, run_command
from data_prep.place import storage_path
from data_prep.store import open_store

DESCRIPTION = f"""Train MRI -> CT and CT -> MRI translators from a Zarr store.

The first word is a preset: {", ".join(PRESETS)} (without one: default). The flags just
below are no settings; all others are, and change the preset. The same command goes on with the
same run."""


def arguments() -> argparse.ArgumentParser:
    """The flags that are not config fields."""
    parser = argparse.ArgumentParser(
        prog="python -m cyclegan.train",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, help="a config.yaml to use instead of a preset")
    parser.add_argument(
        "--resume",
        default="auto",
        help="auto: go on with this run; never: refuse; PATH: begin at another run or a checkpoint "
        "of it, or go on with a run that began there",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print the derived numbers, and time and memory from a few steps on this machine",
    )
    parser.add_argument("--help", "-h", action="store_true", help="show this and all settings")
    return parser


def main(argv: list[str]) -> ExitCode:
    """Parse, plan, train."""
    parser = arguments()
    flags, rest = parser.parse_known_args(argv)
    named = rest.pop(0) if rest and not rest[0].startswith("-") else None
    if named and flags.config:
        raise ConfigError(f"--config replaces a preset; leave out either it or {named!r}.")
    base = load_config(flags.config) if flags.config else preset(named or "default")
    if flags.help:
        print(parser.format_help())
        rest = ["--help"]
    config = resolve(tyro.cli(Config, default=base, args=rest, prog=parser.prog))
    store = open_store(config.store)
    plan = make_plan(config, store)
    print(f"run          {config.run_folder}\n{plan}", flush=True)
    if flags.plan:
        print(rehearse(config, store))
        return ExitCode.DONE
    resume = flags.resume if flags.resume in ("auto", "never") else storage_path(flags.resume)
    if not launch(config, resume):
        print("this run is finished; nothing was done. Another --run.name starts a new one.")
        return ExitCode.DONE
    print(
        f"done: {config.run_folder}\n"
        f"  tensorboard --logdir {config.run_folder / 'tensorboard'}\n"
        f"  python -m cyclegan.evaluate {config.run_folder}\n"
        f"  python -m cyclegan.export {config.run_folder}"
    )
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
