"""The slices of one domain that may be shown, by row.

Shown slices of a volume are neighbours almost always, so runs of them are kept and not each: 24
bytes a run, where a million volumes have more than a hundred million slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.geometry import relative_height

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SliceTable:
    """N slices in R runs of neighbours; rows count from 0 to N - 1 through the runs."""

    volume: NDArray[np.int32]
    """[R], number of the volume."""
    first: NDArray[np.int32]
    """[R], z of the run's first slice."""
    lowest: NDArray[np.int32]
    """[R], z of the lowest slice of the volume that holds body: height 0 ..."""
    highest: NDArray[np.int32]
    """[R], ... and of the highest: height 1."""
    end: Ints
    """[R], rows up to the end of the run."""

    @classmethod
    def of_volumes(
        cls, shown: NDArray[np.bool_], depth: Ints, lowest: Ints, highest: Ints
    ) -> "SliceTable":
        """The shown of the slices of V volumes in a row.

        Args:
            shown: [sum of depth].
            depth: [V], slices of each volume, at least 1.
            lowest: [V], z of each volume's slice of height 0.
            highest: [V], z of each volume's slice of height 1.
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
            lowest=lowest[volume].astype(np.int32),
            highest=highest[volume].astype(np.int32),
            end=lengths.cumsum(),
        )

    @classmethod
    def joined(cls, tables: Sequence["SliceTable"], volumes: Sequence[int]) -> "SliceTable":
        """One table of several, whose volumes are so many and follow each other."""
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
        """For each row, in the shape of `rows`: the number of its volume, and z within it."""
        run = self._run(rows)
        return self.volume[run].astype(np.int64), self._z(rows, run)

    def heights(self, rows: Ints) -> NDArray[np.float32]:
        """For each row, in the shape of `rows`: 0 at the lowest and 1 at the highest slice."""
        run = self._run(rows)
        height = relative_height(self._z(rows, run), self.lowest[run], self.highest[run])
        return height.astype(np.float32)

    def _run(self, rows: Ints) -> Ints:
        return np.asarray(np.searchsorted(self.end, rows, side="right"), np.int64)

    def _z(self, rows: Ints, run: Ints) -> Ints:
        # A run's rows end where its slices do: z = first + (row - rows before the run).
        before = np.where(run > 0, self.end[run - 1], 0)
        return self.first[run] + rows - before
