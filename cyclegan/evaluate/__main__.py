"""`python -m cyclegan.evaluate`: score a generator on a split and write a report."""

from cyclegan.evaluate.command import EvaluateCommand
from mrct.cli import parse, run_command
from mrct.errors import ExitCode


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments and run the evaluation."""
    command = parse(EvaluateCommand, argv, prog="python -m cyclegan.evaluate")
    from cyclegan.evaluate.results import write_results  # after the arguments: it needs torch

    return write_results(command)


if __name__ == "__main__":
    run_command(main)
