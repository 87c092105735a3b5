"""What the promises of docs/reliability.md are counted by: numbered injections of faults.

A number is the seed of its injection, so that a count continues where it stopped and a failure can
be repeated alone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from mrct.storage.local_path import LocalPath

Inject = Callable[[int], object]
"""Does the injection of a number; raises where it is not survived."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Injections of one kind."""

    name: str
    """In the plural, for the table; of one kind alone."""
    promises: tuple[str, ...]
    """Names of those that these injections count for."""
    full: int
    """Faults of the whole count."""
    begin: Callable[[LocalPath], AbstractContextManager[Inject]]
    """Makes what the injections need in an empty folder; what a test of the same faults calls."""
    each: int = 1
    """Faults of one injection, such as kills of one run."""

    @property
    def numbers(self) -> range:
        """Those of the whole count."""
        return range(-(-self.full // self.each))
