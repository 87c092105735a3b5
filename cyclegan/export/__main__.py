"""`python -m cyclegan.export`: export a checkpoint of a run as a model folder."""

from cyclegan.config.files import load_config
from cyclegan.export.command import ExportCommand
from mrct.cli import parse, run_command
from mrct.errors import ExitCode


def main(argv: list[str]) -> ExitCode:
    """Parse the arguments and run the export."""
    command = parse(ExportCommand, argv, prog="python -m cyclegan.export")
    load_config(command.run_folder / "config.yaml")  # fail before torch is imported
    from cyclegan.export.export import export  # after the arguments: it needs torch

    return export(command)


if __name__ == "__main__":
    run_command(main)
