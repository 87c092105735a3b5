"""What a damaged slice leads to: the run stops, or goes on with another slice, up to a limit.

Each substitution is recorded. It knows no reader: `source.py` finds the damage before DALI, in
which a bad sample cannot be caught, sees an array.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from cyclegan.config.config import DataConfig
from mrct.errors import StoreError
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Substitution:
    """One slice that was taken in the place of a damaged one."""

    index: int
    """The sample: step x global batch + place in the batch."""
    attempt: int
    """0 for the first slice tried; a later one where that was damaged too."""
    damaged: str
    """`<volume> slice <z>`."""
    taken: str
    found: str
    """What is wrong with the damaged one."""


Record = Callable[[Substitution], None]


def append_to(path: StoragePath, note: Callable[[str], None]) -> Record:
    """A record that adds a line of JSON to a file, which workers may share, and tells of it."""

    def append(substitution: Substitution) -> None:
        note(
            f"Sample {substitution.index} shows {substitution.taken}, because "
            f"{substitution.damaged} is damaged; {path.name} says more."
        )
        line = json.dumps(asdict(substitution)) + "\n"
        path.append(line, f"{substitution.index}-{substitution.attempt}.json")

    return append


class DamageLimit:
    """Counts the damaged slices of one domain that this worker has met."""

    def __init__(self, config: DataConfig, name: str, num_slices: int) -> None:
        self._config, self._name, self._num_slices = config, name, num_slices
        self._rows: set[int] = set()

    def meet(self, row: int, error: StoreError) -> None:
        """Count a damaged slice.

        Raises:
            StoreError: The run is to stop: at the first, or because they have become too many.
        """
        if self._config.on_corrupt == "stop":
            raise error
        self._rows.add(row)
        if len(self._rows) > self._config.max_corrupt * self._num_slices:
            raise StoreError(
                f"{len(self._rows)} of the {self._num_slices} {self._name} slices are damaged so "
                f"far, more than --data.max-corrupt {self._config.max_corrupt:g} allows: what is "
                f"left is not the data that was asked for. The last one: {error}"
            ) from error
