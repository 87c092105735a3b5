"""`python -m cyclegan.contrast`: fit the contrast table of a run."""

from cyclegan.config.files import load_config
from cyclegan.contrast.command import ContrastCommand
from mrct.cli import parse, run_command
from mrct.errors import ExitCode


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments and fit the table."""
    command = parse(ContrastCommand, argv, prog="python -m cyclegan.contrast")
    load_config(command.run_folder / "config.yaml")  # fail before scipy is imported
    from cyclegan.contrast.run_table import fit_run_table  # after the arguments: it needs torch

    return fit_run_table(command)


if __name__ == "__main__":
    run_command(main)
