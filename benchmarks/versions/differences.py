"""Two sets of named arrays compared, bit by bit, where names may have changed between versions."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.versions.contents import Arrays

Rule = Callable[[str, NDArray[Any]], Hashable]


@dataclass(kw_only=True, slots=True)
class GroupComparison:
    """How the arrays of one group compare."""

    name: str
    total: int = 0
    different: list[str] = field(default_factory=list)
    """A phrase for each array that differs."""
    largest: float = 0.0
    """Of the differences of values, where shapes fit."""

    def line(self) -> str:
        """A row of the table."""
        result = "equal"
        if self.different:
            result = f"{len(self.different)} DIFFER, by at most {self.largest:.3g}"
        first = f"; {self.different[0]}" if self.different else ""
        return f"{self.name:32}{self.total:7}  {result}{first}"


def compare(what: str, before: Arrays, after: Arrays) -> list[GroupComparison]:
    """A verdict for each group of arrays; names are `group/rest`."""
    groups: dict[str, GroupComparison] = {}
    for old, new in pairs_of(before, after):
        name = f"{what}, {(old or new or '').split('/')[0]}"
        group = groups.setdefault(name, GroupComparison(name=name))
        group.total += 1
        if old is None or new is None:
            group.different.append(f"{old} is missing" if old else f"{new} is new")
        elif found := difference(before[old], after[new]):
            group.different.append(f"{old}: {found}")
            group.largest = max(group.largest, distance(before[old], after[new]))
    return list(groups.values())


def pairs_of(before: Arrays, after: Arrays) -> list[tuple[str | None, str | None]]:
    """Which array of one side is which of the other; None for one that has no counterpart.

    Names decide where they are the same on both sides. Else arrays of equal content belong
    together, then those of one name, then those of one shape in their order.
    """
    same_names = before.keys() == after.keys()
    rules: Iterable[Rule] = (by_name,) if same_names else (by_content, by_name, by_shape)
    left, right = dict(before), dict(after)
    found: dict[str, str] = {}
    for rule in rules:
        waiting: dict[Hashable, deque[str]] = defaultdict(deque)
        for name, array in right.items():
            waiting[rule(name, array)].append(name)
        for name in list(left):
            if others := waiting[rule(name, left[name])]:
                found[name] = others.popleft()
                del left[name], right[found[name]]
    return [(name, found.get(name)) for name in before] + [(None, name) for name in right]


def by_name(name: str, array: NDArray[Any]) -> str:
    """Arrays of one name."""
    return name


def by_shape(name: str, array: NDArray[Any]) -> Hashable:
    """Arrays of one shape, in their order."""
    return array.shape


def by_content(name: str, array: NDArray[Any]) -> Hashable:
    """Arrays of the same bytes."""
    return array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()


def difference(before: NDArray[Any], after: NDArray[Any]) -> str:
    """What differs between two arrays; empty where they are equal to the bit."""
    if before.shape != after.shape:
        return f"shape {before.shape}, now {after.shape}"
    if before.dtype != after.dtype:
        return f"{before.dtype}, now {after.dtype}"
    if before.tobytes() == after.tobytes():
        return ""
    changed = np.count_nonzero(before != after)
    return f"{changed} of {before.size} values, by at most {distance(before, after):.3g}"


def distance(before: NDArray[Any], after: NDArray[Any]) -> float:
    """The largest absolute difference; 0 where shapes do not fit, infinite where one is NaN."""
    if before.shape != after.shape or not before.size:
        return 0.0
    apart = np.abs(before.astype(np.float64) - after.astype(np.float64))
    return float(np.nan_to_num(apart, nan=np.inf).max())
