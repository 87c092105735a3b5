"""`python -m cyclegan.translate`: make synthetic volumes on the grids of their inputs."""

from cyclegan.translate.command import Command
from mrct.cli import parse, run_command
from mrct.errors import ExitCode, UsageError


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments and run the translation."""
    command = parse(Command, argv, prog="python -m cyclegan.translate")
    if not command.model.is_dir():
        raise UsageError(
            f"There is no model folder {command.model}; `python -m cyclegan.export` makes one."
        )
    from cyclegan.translate.translate import translate  # after the arguments: it needs torch

    return translate(command)


if __name__ == "__main__":
    run_command(main)
