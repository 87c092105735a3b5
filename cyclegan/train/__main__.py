"""`python -m cyclegan.train [PRESET] [--section.field value] ...`: train a pair of translators."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cyclegan.config.config import Config
from cyclegan.config.files import load_config, resolve
from cyclegan.config.flags import Sections, flags_of
from cyclegan.config.presets import PRESETS, preset
from cyclegan.errors import ConfigError
from mrct.cli import parse, parse_known, run_command
from mrct.errors import ExitCode, UsageError
from mrct.storage.paths import StoragePath, storage_path

TRAIN_COMMAND = "python -m cyclegan.train"


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What the settings start from, beside a preset."""

    config: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Train MRI -> CT and CT -> MRI translators from a Zarr store. The same command goes on with
    the same run.

    Every setting is a flag too, --section.field VALUE, and changes the preset: --help-all shows
    them with their values.
    """

    preset: Annotated[
        str, Positional, arg(metavar="[PRESET]", help=f"The first word: {', '.join(PRESETS)}.")
    ] = "default"
    config: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """A config.yaml to use instead of a preset."""
    resume: Annotated[str, arg(metavar="auto|never|PATH")] = "auto"
    """auto: go on with this run; never: refuse; PATH: begin at another run or a checkpoint of it,
    or go on with a run that began there."""
    plan: bool = False
    """Print the derived numbers, and time and memory from a few steps on this machine."""
    settings: Sections = field(default_factory=dict)

    @property
    def start(self) -> Literal["auto", "never"] | StoragePath:
        """Where the run begins; see `resume`."""
        words: dict[str, Literal["auto", "never"]] = {"auto": "auto", "never": "never"}
        return words.get(self.resume) or storage_path(self.resume)


def main(argv: list[str]) -> ExitCode:
    """Parse, plan, train."""
    command, config = asked_for(argv)
    config = resolve(config)
    from data_prep.store.store import open_store

    store = open_store(config.store)  # before what takes longer to import
    from cyclegan.train.training_plan import make_plan

    print(f"run          {config.run_folder}\n{make_plan(config, store)}", flush=True)
    if command.plan:
        from cyclegan.train.dry_run import rehearse

        print(rehearse(config, store))
        return ExitCode.DONE
    from cyclegan.train.run.launch import launch

    if not launch(config, command.start):
        print("this run is finished; nothing was done. Another --run.name starts a new one.")
        return ExitCode.DONE
    print(
        f"done: {config.run_folder}\n"
        f"  tensorboard --logdir {config.run_folder / 'tensorboard'}\n"
        f"  python -m cyclegan.evaluate {config.run_folder}\n"
        f"  python -m cyclegan.export {config.run_folder}"
    )
    return ExitCode.DONE


def asked_for(argv: list[str]) -> tuple[Command, Config]:
    """The command and its configuration. The preset or --config is looked for before the rest is
    parsed: it decides what the other flags start from.

    Raises:
        UsageError: There is no such preset or file, or there are both.
    """
    named = argv[0] if argv and not argv[0].startswith("-") else None
    file = parse_known(Base, argv, prog=TRAIN_COMMAND)[0].config
    if named and file:
        raise ConfigError(f"--config replaces a preset; leave out either it or {named!r}.")
    base = load_config(file) if file else preset(named or "default")
    sections, argv = flags_of(base, argv)
    default = Command(preset=named or "default", settings=sections)
    command: Command = parse(Command, argv, prog=TRAIN_COMMAND, default=default)
    if command.preset != default.preset:
        raise UsageError(f"a preset is the first word: {TRAIN_COMMAND} {command.preset} ...")
    return command, replace(base, **command.settings)


if __name__ == "__main__":
    run_command(main)
