"""Index of the slices of one domain that training may use, by row.

The usable slices of a volume are almost always adjacent, so runs of them are stored instead of
single slices: 24 bytes per run, where a million volumes have more than a hundred million slices.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from cyclegan.errors import DataError
from data_prep.datasets.split import Split
from data_prep.store.index import Volumes
from data_prep.store.store import Store
from mrct.imaging.geometry import relative_height
from mrct.imaging.modality import Modality

Ints = NDArray[np.int64]

MAX_HEIGHT_DIFFERENCE = 0.05
"""Largest difference in height between slices that count as near each other."""
MIN_NEAR_SLICES = 16
"""Candidates examined first: for four of five heights one of them is near."""
VOLUMES_AT_ONCE = 1024
"""Volumes whose slices are examined together: data on all slices at once would fill memory."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SliceTable:
    """Table of N slices in R runs of adjacent slices; rows 0 to N - 1 count through the runs."""

    volume: NDArray[np.int32]
    """[R], number of the volume."""
    first: NDArray[np.int32]
    """[R], z of the run's first slice."""
    lowest: NDArray[np.float32]
    """[R], z at which the volume's height is 0 (`StoredVolume.lowest`)."""
    highest: NDArray[np.float32]
    """[R], z at which it is 1."""
    end: Ints
    """[R], number of rows up to the end of the run."""

    @classmethod
    def of_volumes(
        cls,
        shown: NDArray[np.bool_],
        depth: Ints,
        lowest: NDArray[np.floating],
        highest: NDArray[np.floating],
    ) -> "SliceTable":
        """Build the table of V consecutive volumes.

        Args:
            shown: [sum of depth], whether each slice may be used.
            depth: [V], slices of each volume, at least 1.
            lowest: [V], z at which each volume's height is 0.
            highest: [V], z at which it is 1.
        """
        starts = depth.cumsum() - depth
        begins = shown.copy()
        begins[1:] &= ~shown[:-1]
        begins[starts] = shown[starts]
        at = np.flatnonzero(begins)
        volume = np.searchsorted(starts, at, side="right") - 1
        lengths = np.add.reduceat(shown, at, dtype=np.int64) if len(at) else np.empty(0, np.int64)
        return cls(
            volume=volume.astype(np.int32),
            first=(at - starts[volume]).astype(np.int32),
            lowest=lowest[volume].astype(np.float32),
            highest=highest[volume].astype(np.float32),
            end=lengths.cumsum(),
        )

    @classmethod
    def joined(cls, tables: Sequence["SliceTable"], volumes: Sequence[int]) -> "SliceTable":
        """Concatenate several tables.

        Args:
            tables: At least one table; the volumes of each are counted on from those before it.
            volumes: Number of volumes of each table, also of those without a usable slice.
        """
        before = np.cumsum([0, *volumes[:-1]])
        rows = np.cumsum([0, *(len(table) for table in tables[:-1])])
        return cls(
            volume=np.concatenate(
                [t.volume + np.int32(b) for t, b in zip(tables, before, strict=True)]
            ),
            first=np.concatenate([table.first for table in tables]),
            lowest=np.concatenate([table.lowest for table in tables]),
            highest=np.concatenate([table.highest for table in tables]),
            end=np.concatenate([t.end + r for t, r in zip(tables, rows, strict=True)]),
        )

    def __len__(self) -> int:
        return int(self.end[-1]) if len(self.end) else 0

    def places(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return the volume number and the z of each row, both in the shape of `rows`."""
        run = self._run(rows)
        return self.volume[run].astype(np.int64), self._z(rows, run)

    def heights(self, rows: Ints) -> NDArray[np.float32]:
        """Return the height of each row in the body, 0 to 1, in the shape of `rows`."""
        run = self._run(rows)
        height = relative_height(self._z(rows, run), self.lowest[run], self.highest[run])
        return height.astype(np.float32)

    def near(self, heights: NDArray[np.float32], u: NDArray[np.float64]) -> Ints:
        """Return, for each height, the first near row, else the nearest, of those that `u` draws.

        Args:
            heights: [N], heights in the body.
            u: [N, candidates], numbers in [0, 1).

        Returns:
            [N], rows.
        """
        candidates = (u * len(self)).astype(np.int64)
        rows, left = np.empty(len(heights), np.int64), np.arange(len(heights))
        for count in (MIN_NEAR_SLICES, u.shape[1]):
            some = candidates[left, :count]
            distance = np.abs(self.heights(some) - heights[left, None])
            near = distance <= MAX_HEIGHT_DIFFERENCE
            found = near.any(axis=1)
            first = np.where(found, near.argmax(axis=1), distance.argmin(axis=1))
            rows[left] = some[np.arange(len(some)), first]
            left = left[~found]
        return rows

    def rows_of(self, volumes: NDArray[np.integer]) -> "SomeRows":
        """Return the rows of some volumes.

        Args:
            volumes: Numbers of the volumes.
        """
        chosen = np.isin(self.volume, volumes)
        lengths = np.diff(self.end, prepend=0)
        return SomeRows(first=(self.end - lengths)[chosen], end=lengths[chosen].cumsum())

    def _run(self, rows: Ints) -> Ints:
        return np.asarray(np.searchsorted(self.end, rows, side="right"), np.int64)

    def _z(self, rows: Ints, run: Ints) -> Ints:
        # The rows of a run are consecutive: z = first + (row - rows before the run).
        before = np.where(run > 0, self.end[run - 1], 0)
        return self.first[run] + rows - before


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SomeRows:
    """N rows of a table, in R runs of adjacent ones."""

    first: Ints
    """[R], first row of each run."""
    end: Ints
    """[R], number of these rows up to the end of the run."""

    def __len__(self) -> int:
        return int(self.end[-1]) if len(self.end) else 0

    def rows(self, positions: Ints) -> Ints:
        """Return the rows at some positions, which count from 0 to N - 1."""
        run = np.searchsorted(self.end, positions, side="right")
        before = np.where(run > 0, self.end[run - 1], 0)
        return np.asarray(self.first[run] + positions - before, np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Domain:
    """The volumes of one modality and split, and the slices of them that may be used."""

    volumes: Volumes
    """Volumes, sorted by name."""
    table: SliceTable
    """Usable slices; volume numbers are indices into `volumes`."""


def serving_volumes(store: Store, config: DataConfig, modality: Modality, split: Split) -> Volumes:
    """Return the volumes of a domain; in training, a subject contributes to one domain only."""
    volumes = store.select(modality, split)
    if split != "train" or config.allow_paired_train or config.use_pairs:
        return volumes
    subjects = volumes.texts("subject")
    paired = np.isin(
        subjects, store.select("ct" if modality == "mri" else "mri", split).texts("subject")
    )
    lost = [_kept(subject.decode()) != modality for subject in subjects[paired]]
    paired[paired] = lost
    return volumes.where(~paired)


def find_domain(store: Store, config: DataConfig, modality: Modality, split: Split) -> Domain:
    """Find all slices of a domain with enough body and contrast.

    Args:
        store: Store with the volumes.
        config: Limits on body share and standard deviation, and the use of paired subjects.
        modality: Modality of the domain.
        split: Split of the volumes.

    Raises:
        DataError: There are no such slices; the message names the reason and the setting or command
            that fixes it.
    """
    volumes = serving_volumes(store, config, modality, split)
    parts = [
        volumes[start : start + VOLUMES_AT_ONCE]
        for start in range(0, len(volumes), VOLUMES_AT_ONCE)
    ]
    tables = [_shown(part, config) for part in parts]
    if not any(len(table) for table in tables):
        has_body = any(_with_body(part, config).any() for part in parts)
        raise _empty(store, config, modality, split, len(volumes), has_body)
    return Domain(volumes=volumes, table=SliceTable.joined(tables, [len(part) for part in parts]))


def _shown(volumes: Volumes, config: DataConfig) -> SliceTable:
    return SliceTable.of_volumes(
        _with_body(volumes, config) & (volumes.of_slices("deviation") >= config.min_deviation),
        volumes.depths,
        lowest=volumes.column("lowest"),
        highest=volumes.column("highest"),
    )


def _with_body(volumes: Volumes, config: DataConfig) -> NDArray[np.bool_]:
    return volumes.of_slices("body_fraction") >= config.min_body_fraction


def _kept(subject: str) -> Modality:
    """Return the modality that a paired subject contributes, from its name alone: it is stable."""
    return "ct" if hashlib.sha256(subject.encode()).digest()[0] % 2 else "mri"


def _empty(
    store: Store,
    config: DataConfig,
    modality: Modality,
    split: Split,
    num_serving: int,
    has_body: bool,
) -> DataError:
    name = modality.upper()
    num_stored = len(store.select(modality, split))
    found = f"{num_stored} {name} volumes are in that split"
    if not num_stored:
        remedy = (
            f"Convert {name} volumes too, or set the manifest's split column to `{split}` for "
            "some:\n"
            f"  python -m data_prep convert --mri DIR --ct DIR --out {store.path}"
        )
    elif not num_serving:
        found += ", all of subjects whose other scan is used"
        remedy = "Use both scans of a subject with --data.allow-paired-train, or add subjects."
    elif has_body:
        found += (
            f", but no slice with enough body has a standard deviation of {config.min_deviation:g} "
            "or more: each is nearly constant"
        )
        remedy = (
            "Lower --data.min-deviation, or inspect the store:\n"
            f"  python -m data_prep describe {store.path}"
        )
    else:
        found += f", but none of their slices shows {config.min_body_fraction:.0%} body or more"
        remedy = (
            "Lower --data.min-body-fraction, or inspect the store:\n"
            f"  python -m data_prep describe {store.path}"
        )
    return DataError(
        f"There is no {name} slice in the {split} split of {store.path}: {found}. "
        f"Unpaired translation learns from both domains. {remedy}"
    )
