"""Location of a run whose own `config.yaml` is given: where it lies now, not where it began."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError
from mrct.errors import NoStoreError
from mrct.storage.paths import StoragePath

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
"""File of every run that has begun; a configuration without it beside belongs to no run."""
LOCATION_FLAGS = ("--run.storage", "--run.name")


def locate_run(config: Config, file: StoragePath, argv: list[str]) -> Config:
    """Return the configuration with the folder of the run that its file belongs to.

    A run that was moved continues in its new folder. The configuration is returned as it is if it
    belongs to no run.

    Args:
        config: Content of the file.
        file: Absolute path of the file.
        argv: Arguments of the command, which may name a location themselves.

    Raises:
        ConfigError: The run is a copy of another one, and the arguments name no location: one of
            the two would be continued by mistake.
    """
    folder = file.parent
    if file.name != CONFIG or not (folder / ENVIRONMENT).exists():
        return config
    recorded = config.run_folder
    if str(recorded) == str(folder) or (file.local and recorded.contains(file.local)):
        return config
    if not any(word.partition("=")[0] in LOCATION_FLAGS for word in argv) and is_run(recorded):
        raise ConfigError(
            f"{folder} is a copy of the run {recorded}, which is still there. Name the one to "
            "continue. The copy:\n"
            f"  python -m cyclegan.train --config {file} --run.storage {folder.parent}\n"
            "or the original:\n"
            f"  python -m cyclegan.train --config {recorded / CONFIG}"
        )
    return replace(config, run=replace(config.run, name=folder.name, storage=str(folder.parent)))


def is_run(folder: StoragePath) -> bool:
    """Return whether a run lies in a folder; False if the folder cannot be reached."""
    with suppress(OSError):
        return (folder / CONFIG).exists()
    return False


@contextmanager
def store_moves_explained(config: Config, flag: str) -> Iterator[None]:
    """Explain, if the block does not find the store of an earlier run or search, how to name it.

    Args:
        config: Configuration of the run, or base of the search.
        flag: Flag of this command that names a store.
    """
    try:
        yield
    except NoStoreError as error:
        raise NoStoreError(
            f"There is no store at {config.store}, where it was before. If it was moved, name "
            f"its new place: {flag} STORE."
        ) from error
