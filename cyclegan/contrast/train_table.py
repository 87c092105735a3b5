"""The contrast table of a store's train split, counted by Ray tasks.

Each task reads a few volumes and returns whole numbers, so the table is the same to the bit on any
number of machines. All volumes are read once for the table; the MRIs once more, each to be judged
by a table that has not seen it.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclegan.atlas.scans import Scan, scan_of
from cyclegan.contrast.counts import CtCounts, MriCounts, count_of_mri
from cyclegan.contrast.fit import counts_of_cts, fit_table
from cyclegan.contrast.likelihood import NUM_FOLDS
from cyclegan.contrast.table import LEAST_GAIN, ContrastTable
from cyclegan.errors import DataError
from data_prep.store.store import Store, open_store
from mrct.imaging.modality import Modality
from mrct.ray_tasks import task_results, task_session
from mrct.storage.paths import StoragePath

VOLUMES_PER_TASK = 2
LEAST_SHARE = 0.25
"""Of the median gain: an MRI to which positions tell less than that is unlike the others. On the
frozen phantom the least of twelve gains is half of it."""
Result = TypeVar("Result")
_counted = partial(task_results, purpose="the contrast table was counted")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainTable:
    """The table of a train split, and which of its MRIs it was not made of or does not explain."""

    table: ContrastTable
    gains_nats: dict[str, float] = field(default_factory=dict)
    """How likely each MRI is to a table that has not seen it; see `ContrastTable.gain_nats`."""
    left_out: tuple[str, ...] = ()
    """Sentences about MRIs that could not be counted."""

    @property
    def unlikely(self) -> dict[str, float]:
        """Return the gain of each MRI that is unlike the others."""
        least = self.table.findings.get(LEAST_GAIN, 0.0)
        return {name: gain for name, gain in self.gains_nats.items() if gain < least}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Volumes of one task."""

    store: StoragePath
    names: tuple[str, ...]
    first: int
    """Number of the first of them among the volumes of its kind."""

    def scans(self) -> Iterator[tuple[int, str, Scan]]:
        """Read the volumes; yields number, name and scan."""
        store = open_store(self.store)
        for number, name in enumerate(self.names, self.first):
            volume = store.volumes.named(name)
            assert volume is not None
            yield number, name, scan_of(store, volume)


def fit_train_table(store: Store, workers: int | None = None) -> TrainTable:
    """Fit the table of the train split of a store.

    Args:
        store: Store of which only the volumes that it shows are read.
        workers: Tasks at a time on a Ray that is started here; 0 does without Ray, None uses all
            cores. A Ray that runs already is used as it is.

    Raises:
        DataError: The train split has no MRI, or no CT.
        StoreError: A volume is damaged.
        UnreachableError: Ray was lost.
    """
    gains: dict[str, float] = {}
    with task_session(workers):
        cts, mris, left_out = count_train_split(store, workers)
        # A task has one thread: BLAS makes these small products slower with more.
        (fitted,) = _counted(fit_table, [cts], workers, mris)
        if fitted.log_gains is not None:
            judge = partial(_judge, left_out=frozenset(left_out))
            for found in _counted(judge, parts_of(store, "mri"), workers, fitted.log_gains):
                gains |= found
        table = deepcopy(fitted.table)  # what a task returns lies in Ray's memory
    if gains:
        least = max(0.0, LEAST_SHARE * float(np.median(list(gains.values()))))
        table = replace(table, findings=table.findings | {LEAST_GAIN: least})
    return TrainTable(table=table, gains_nats=gains, left_out=tuple(left_out.values()))


def count_train_split(
    store: Store, workers: int | None
) -> tuple[CtCounts | None, MriCounts | None, dict[str, str]]:
    """Return the counts of CTs and MRIs, and why an MRI was left out, by its name."""
    cts = _added(_counted(_count_cts, parts_of(store, "ct"), workers))
    counted = list(_counted(_count_mris, parts_of(store, "mri"), workers))
    left_out = {name: why for _, problems in counted for name, why in problems.items()}
    return cts, _added(counts for counts, _ in counted), left_out


def parts_of(store: Store, modality: Modality) -> list[Part]:
    """Return the volumes of the train split, divided into tasks."""
    names = [volume.name for volume in store.select(modality, "train")]
    return [
        Part(store=store.path, names=tuple(names[at : at + VOLUMES_PER_TASK]), first=at)
        for at in range(0, len(names), VOLUMES_PER_TASK)
    ]


def _added(counts: Iterable[Result | None]) -> Result | None:
    there = [each for each in counts if each is not None]
    return reduce(add, there) if there else None


def _count_cts(part: Part) -> CtCounts | None:
    return counts_of_cts(scan for _, _, scan in part.scans())


def _count_mris(part: Part) -> tuple[MriCounts | None, dict[str, str]]:
    counted, problems = [], {}
    for number, name, scan in part.scans():
        try:
            if scan[1].any():
                counted.append(MriCounts.of(scan, number % NUM_FOLDS))
        except DataError as error:
            problems[name] = f"{name}: {error}"
    return _added(counted), problems


def _judge(
    part: Part, log_gains: NDArray[np.float64], left_out: frozenset[str]
) -> dict[str, float]:
    gains = {}
    for number, name, scan in part.scans():
        if scan[1].any() and name not in left_out:
            counts = count_of_mri(scan)
            gains[name] = float((counts * log_gains[number % NUM_FOLDS]).sum() / counts.sum())
    return gains
