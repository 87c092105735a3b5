"""`python -m cyclegan.export`: a run's checkpoint becomes a model folder, or nothing does."""

from cyclegan.config.files import load_config
from cyclegan.export.command import Command
from mrct.cli import parse, run_command
from mrct.errors import ExitCode


def main(argv: list[str]) -> ExitCode:
    """Do what the arguments ask for."""
    command = parse(Command, argv, prog="python -m cyclegan.export")
    load_config(command.run_folder / "config.yaml")  # a folder without a run is told at once
    from cyclegan.export.export import export  # after the arguments: it needs torch

    return export(command)


if __name__ == "__main__":
    run_command(main)
