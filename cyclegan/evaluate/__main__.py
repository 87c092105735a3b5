"""`python -m cyclegan.evaluate`: scores of a translator on a split, and a report of them."""

from cyclegan.evaluate.command import Command
from mrct.cli import parse, run_command
from mrct.errors import ExitCode


def main(argv: list[str]) -> ExitCode:
    """Do what the arguments ask for."""
    command = parse(Command, argv, prog="python -m cyclegan.evaluate")
    from cyclegan.evaluate.results import write_results  # after the arguments: it needs torch

    return write_results(command)


if __name__ == "__main__":
    run_command(main)
