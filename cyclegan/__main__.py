"""The commands of the package, each a module of its own.

Start with a store that `python -m data_prep` made:

  python -m cyclegan.train demo --data.store brain.zarr --run.name brain
  python -m cyclegan.evaluate runs/brain
  python -m cyclegan.export runs/brain
  python -m cyclegan.translate runs/brain/model_to_ct STUDIES
"""

import sys

from cyclegan.anchor.command import AnchorCommand
from cyclegan.contrast.command import ContrastCommand
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.export.command import ExportCommand
from cyclegan.train.__main__ import TrainCommand
from cyclegan.translate.command import TranslateCommand
from mrct.cli import run_command
from mrct.errors import ExitCode, UsageError
from mrct.help import asks_for_help, group_screen

CYCLEGAN_COMMANDS = {
    "train": TrainCommand,
    "contrast": ContrastCommand,
    "anchor": AnchorCommand,
    "evaluate": EvaluateCommand,
    "export": ExportCommand,
    "translate": TranslateCommand,
}


def main(argv: list[str]) -> ExitCode:
    """Print the commands, or how the one is called that the first argument names."""
    if argv and argv[0] in CYCLEGAN_COMMANDS:
        raise UsageError(f"A dot stands before the command: python -m cyclegan.{' '.join(argv)}")
    screen = group_screen(CYCLEGAN_COMMANDS, "python -m cyclegan", __doc__, joint=".")
    if asks_for_help(argv):
        print(screen)
        return ExitCode.DONE
    print(screen, file=sys.stderr)
    return ExitCode.WRONG_USE


if __name__ == "__main__":
    run_command(main)
