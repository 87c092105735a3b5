"""`python -m cyclegan.anchor`: warp training CTs onto the training MRIs of a store."""

from cyclegan.anchor.command import AnchorCommand
from mrct.cli import parse, run_command
from mrct.errors import ExitCode


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments and warp."""
    command = parse(AnchorCommand, argv, prog="python -m cyclegan.anchor")
    from cyclegan.anchor.run_anchor import anchor  # after the arguments: it needs torch

    return anchor(command)


if __name__ == "__main__":
    run_command(main)
