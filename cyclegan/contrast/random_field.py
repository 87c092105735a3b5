"""A Markov random field of HU: which neighbours a voxel has, beyond what their positions explain.

Axes: P positions, H bins of HU, V voxels of the body; three directions: along z, y and x.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from cyclegan.contrast.likelihood import sum_over_positions

FIELD_STRENGTH = 0.15
"""Weight of a neighbour; 0.1 to 0.35 were as good on pairs of a phantom, 0.6 too much."""
FIELD_STEPS = 6
FEW_PAIRS = 20.0
"""Pairs that are added to each count, so that rare ones say nothing."""

Posterior = Float[np.ndarray, "V H"]
Affinities = Float[np.ndarray, "3 H H"]
Neighbours = Int[np.ndarray, "3 2 V"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NeighbourCounts:
    """How often two HU are neighbours in CTs, and how often two positions are.

    All counts are whole numbers, so those of any parts of a cohort add up to the same in any order.
    """

    bins: Int[np.ndarray, "3 H H"]
    """Pairs of neighbours by direction and by the bins of both."""
    positions: csr_array
    """[positions, 3 x positions], the same pairs by the positions of both."""

    @classmethod
    def of(
        cls,
        body: NDArray[Any],
        bins: Int[np.ndarray, " V"],
        positions: Int[np.ndarray, " V"],
        *,
        num_bins: int,
        num_positions: int,
    ) -> "NeighbourCounts":
        """Count the pairs of a CT: body [z, y, x], and bin and position of each of its voxels."""
        index = np.full(body.shape, -1)
        index[body.astype(bool)] = np.arange(len(bins))
        seen, rows, columns = [], [], []
        for axis in range(3):
            lower, upper = (np.take(index, at, axis) for at in _pairs_along(body.shape[axis]))
            both = (lower >= 0) & (upper >= 0)
            one, other = lower[both], upper[both]
            pairs = np.bincount(bins[one] * num_bins + bins[other], minlength=num_bins**2)
            seen.append(pairs.reshape(num_bins, num_bins))
            rows.append(positions[one])
            columns.append(axis * num_positions + positions[other])
        at = np.concatenate(rows), np.concatenate(columns)
        counted = coo_array(
            (np.ones(len(at[0]), np.int64), at), shape=(num_positions, 3 * num_positions)
        )
        return cls(bins=np.stack(seen), positions=counted.tocsr())

    def __add__(self, other: "NeighbourCounts") -> "NeighbourCounts":
        return NeighbourCounts(
            bins=self.bins + other.bins, positions=self.positions + other.positions
        )

    def affinities(self, prior: Float[np.ndarray, "P H"]) -> Affinities:
        """Return the log of how much oftener two bins are neighbours than if position was all.

        Args:
            prior: Share of each bin at each position.
        """
        shares = prior.astype(np.float64)
        count = len(shares)
        expected = np.stack(
            [
                sum_over_positions(
                    shares.T, self.positions[:, axis * count : (axis + 1) * count] @ shares
                )
                for axis in range(3)
            ]
        )
        seen, usual = (pairs + pairs.transpose(0, 2, 1) for pairs in (self.bins, expected))
        found: Affinities = np.log((seen + FEW_PAIRS) / (usual + FEW_PAIRS))
        return found


def mean_field(
    posterior: Posterior,
    body: NDArray[Any],
    affinities: Affinities,
    strength: float = FIELD_STRENGTH,
) -> Posterior:
    """Return the posterior in which each voxel takes its six neighbours into account.

    The field is that of Geman 1984 (IEEE PAMI 6:721), the steps are its mean-field approximation
    (Parisi 1988, Statistical Field Theory, section 3.2), each half of the way and the last one
    whole.

    Args:
        posterior: Posterior of each voxel by itself, rows add up to 1.
        body: Body mask [z, y, x] with V voxels; what lies outside says nothing.
        affinities: `NeighbourCounts.affinities` of the training CTs.
        strength: Weight of each neighbour, 0 to 1.
    """
    neighbours = neighbours_of(body)
    weights = (strength * affinities).astype(np.float32)
    alone = np.log(posterior + 1e-9).astype(np.float32)
    # [voxels + 1, bins]: the last row is that of a neighbour outside.
    current = np.concatenate([posterior, np.zeros_like(posterior[:1])]).astype(np.float32)
    for step in range(FIELD_STEPS):
        weighed = alone.copy()
        for axis in range(3):
            before, after = neighbours[axis]
            weighed += (current[before] + current[after]) @ weights[axis]
        weighed -= weighed.max(axis=1, keepdims=True)
        np.exp(weighed, out=weighed)
        weighed /= weighed.sum(axis=1, keepdims=True)
        current[:-1] = weighed if step == FIELD_STEPS - 1 else (current[:-1] + weighed) / 2
    return current[:-1]


def neighbours_of(body: NDArray[Any]) -> Neighbours:
    """Return the number of each voxel's neighbours before and after it; V for one outside."""
    inside = body.astype(bool)
    count = int(inside.sum())
    index = np.full([length + 2 for length in body.shape], count)
    index[1:-1, 1:-1, 1:-1][inside] = np.arange(count)
    core = slice(1, -1)
    found: Neighbours = np.array(
        [
            [
                index[
                    tuple(slice(1 + by, by - 1 or None) if a == axis else core for a in range(3))
                ][inside]
                for by in (-1, 1)
            ]
            for axis in range(3)
        ]
    )
    return found


def _pairs_along(length: int) -> tuple[range, range]:
    return range(length - 1), range(1, length)
