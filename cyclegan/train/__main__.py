"""`python -m cyclegan.train`: train a pair of generators."""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional, arg

from cyclegan.config.config import Config
from cyclegan.config.files import load_config, resolve
from cyclegan.config.flags import Sections, sections_of
from cyclegan.config.presets import PRESETS, preset
from cyclegan.config.run_location import is_run, locate_run, store_moves_explained
from cyclegan.errors import ConfigError
from mrct.cli import parse, parse_known, run_command
from mrct.errors import ExitCode, UsageError
from mrct.host_limits import require_for_training
from mrct.job_stop import outlive_job_stop
from mrct.storage.paths import StoragePath, storage_path

TRAIN_COMMAND = "python -m cyclegan.train"


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseConfig:
    """Alternative to a preset as the origin of the settings."""

    config: StoragePath | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainCommand:
    """Train MRI -> CT and CT -> MRI generators on a Zarr store. The same command resumes the same
    run.

      python -m cyclegan.train default --data.store brain.zarr --run.name brain

    Every setting is also a flag, --section.field VALUE, which overrides the preset.
    """

    HELP_OPTIONS: ClassVar = ("preset", "config", "resume", "plan", "find_rate", "batch")

    preset: Annotated[
        str, Positional, arg(metavar="[PRESET]", help=f"First argument: {', '.join(PRESETS)}.")
    ] = "default"
    config: Annotated[StoragePath | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Use this config.yaml instead of a preset; that of a run continues the run where it lies."""
    resume: Annotated[str, arg(metavar="auto|never|PATH")] = "auto"
    """auto: resume the run if it exists; never: refuse to resume; PATH: start from another run or
    one of its checkpoints, or resume a run that started there."""
    plan: bool = False
    """Print the derived numbers, run a few steps on this machine, print their time and memory, and
    exit. The time is that of the steps that are left, by --resume."""
    find_rate: bool = False
    """Train new networks for up to 100 steps at rising learning rates, draw their loss, suggest a
    rate, and exit."""
    batch: Literal["as-set", "auto"] = "as-set"
    """auto: as many pairs in a step as a GPU has memory for, at most 8 for each; a line states the
    settings that repeat it. A run that has begun keeps its batch."""
    gpu_gib: Annotated[float, arg(metavar="GIB")] = 0.0
    """With --batch auto: memory of a worker's GPU, where this machine has none like it."""
    settings: Sections = field(default_factory=dict)

    @property
    def start(self) -> Literal["auto", "never"] | StoragePath:
        """Starting point of the run; see `resume`."""
        words: dict[str, Literal["auto", "never"]] = {"auto": "auto", "never": "never"}
        return words.get(self.resume) or storage_path(self.resume)


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments, print the plan, and train."""
    command, wanted = parse_command(argv)
    if not (command.plan or command.find_rate):
        outlive_job_stop(wanted.scale.grace_s, "--scale.grace-s")  # before any thread starts
        require_for_training()
    if wanted.train.init:
        from cyclegan.train.checkpoint.weight_source import pin_source

        wanted = pin_source(wanted)  # the run's name depends on the hash
    config = resolve(wanted)
    from data_prep.store.store import open_store

    moves = store_moves_explained(config, "--data.store") if command.config else nullcontext()
    with moves:
        store = open_store(config.store)  # before what takes longer to import
    if command.batch == "auto":
        from cyclegan.train.batch_size import choose_batch

        located = replace(config, run=replace(config.run, name=wanted.run.name))
        batch, reason = choose_batch(located, store, command.gpu_gib)
        print(f"--batch auto: {reason}.")
        config = resolve(replace(wanted, batch=batch))
    from cyclegan.train.checkpoint.run_record import store_of_run
    from cyclegan.train.training_plan import make_plan, total_steps

    if is_run(config.run_folder):
        every, store = len(store.volumes), store_of_run(config.run_folder, store)
        if later := every - len(store.volumes):
            print(
                f"Note: The store has {later} more than the run began with; it continues without "
                f"them. To train on all: --run.name NAME --resume {config.run_folder}"
            )
    print(f"run          {config.run_folder}\n{make_plan(config, store)}", flush=True)
    steps = total_steps(config, store)
    finished = "This run is already finished. --run.name NAME starts a new run."
    if command.plan:
        from cyclegan.train.checkpoint.resume import first_step_of
        from cyclegan.train.dry_run import measure_steps

        first = first_step_of(config, store, steps, command.start)
        if config.train.init and not first:
            from cyclegan.train.checkpoint.initial_weights import initial_weights

            print("\n".join(initial_weights(config, store, steps).notes))
        print(measure_steps(config, store, first) if first < steps else finished)
        return ExitCode.DONE
    if command.find_rate:
        return test_rates(config)
    from cyclegan.train.run.launch import launch

    saved = launch(config, command.start)
    if not saved:
        print(finished)
        return ExitCode.DONE
    paused = saved == config.schedule.pause_at_step
    early = f"{'Paused' if paused else 'Ended early'} at step {saved} of {steps}"
    end = "Done" if saved == steps else early
    print(
        f"{end}: {config.run_folder}\n"
        f"  tensorboard --logdir {config.run_folder.parent}\n"
        f"  python -m cyclegan.evaluate {config.run_folder}\n"
        f"  python -m cyclegan.export {config.run_folder}"
    )
    return ExitCode.DONE


def test_rates(config: Config) -> ExitCode:
    """Run the range test of the learning rate, and print and draw its result."""
    from cyclegan.train.checkpoint.folder import results_folder
    from cyclegan.train.find_rate import find_rate
    from data_prep.store.store import open_store
    from mrct.storage.atomic import write_atomic
    from mrct.storage.local_path import make_output_folder

    path = results_folder(config.run_folder, "learning_rates.png")
    make_output_folder(path.parent)
    found = find_rate(config, open_store(config.store))
    write_atomic(path, found.picture())
    print(f"{found}\n  {path}")
    return ExitCode.DONE


def parse_command(argv: list[str]) -> tuple[TrainCommand, Config]:
    """Parse the arguments into the command and its configuration.

    The preset or --config is parsed first, because it sets the defaults of all other flags.

    Raises:
        UsageError: There is no such preset or file, or both were given.
    """
    named = argv[0] if argv and not argv[0].startswith("-") else None
    file = parse_known(BaseConfig, argv, prog=TRAIN_COMMAND)[0].config
    if named and file:
        raise ConfigError(f"--config replaces the preset: give either --config or {named!r}.")
    base = locate_run(load_config(file), file, argv) if file else preset(named or "default")
    default = TrainCommand(preset=named or "default", settings=sections_of(base))
    command: TrainCommand = parse(TrainCommand, argv, prog=TRAIN_COMMAND, default=default)
    if command.preset != default.preset:
        raise UsageError(
            f"The preset must be the first argument: {TRAIN_COMMAND} {command.preset} ..."
        )
    return command, replace(base, **command.settings)


if __name__ == "__main__":
    run_command(main)
