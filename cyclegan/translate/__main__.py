"""`python -m cyclegan.translate`: make synthetic volumes on the grids of their inputs."""

from cyclegan.translate.command import TranslateCommand
from mrct.cli import parse, run_command
from mrct.errors import ExitCode, UsageError


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments and run the translation."""
    command = parse(TranslateCommand, argv, prog="python -m cyclegan.translate")
    if not command.model.is_dir():
        raise UsageError(
            f"There is no model folder {command.model}; `python -m cyclegan.export` makes one."
        )
    from cyclegan.translate.translate import translate_inputs  # after the arguments: it needs torch

    return translate_inputs(command)


if __name__ == "__main__":
    run_command(main)
