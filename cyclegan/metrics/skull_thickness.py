"""Thickness of the skull by height: too thin, too thick and open skulls show in it.

In each slice, rays run from the outline to the middle of the body; the thickness in a direction is
the length of bone on the first 40 mm. Near the vertex it is an oblique section, but of all CTs
alike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cyclegan.metrics.paired_scores import NUM_TENTHS
from mrct.imaging.hounsfield import BONE_HU

NUM_RAYS = 48
"""Directions in a slice, evenly spaced."""
RAY_STEP_MM = 0.5
NUM_SHELL_STEPS = 80
"""Steps below the surface, 40 mm, within which bone counts as skull."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SkullThickness:
    """Directions by height and thickness, as counts that can be added."""

    counts: NDArray[np.int64]
    """[10, 81], number of directions by tenth of the height, lowest first, and by half
    millimetres of bone."""

    def __add__(self, other: "SkullThickness") -> "SkullThickness":
        return SkullThickness(counts=self.counts + other.counts)

    @property
    def mean_mm(self) -> list[float | None]:
        """The mean thickness by tenth of the height; None for a tenth without body."""
        totals = self.counts @ np.arange(self.counts.shape[1]) * RAY_STEP_MM
        return _by_tenth(totals, self.counts.sum(axis=1))

    @property
    def closed(self) -> list[float | None]:
        """The share of directions with bone, 0 to 1, by tenth of the height."""
        return _by_tenth(self.counts[:, 1:].sum(axis=1), self.counts.sum(axis=1))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SkullRays:
    """The rays of a body, inwards from its outline; the same for all CTs of that body."""

    points: NDArray[np.float64]
    """[3, slices, directions, steps], indices (z, y, x)."""
    before_middle: NDArray[np.bool_]
    """[slices, directions, steps], whether a step lies before the middle, where its ray ends."""
    tenths: NDArray[np.intp]
    """[slices], tenth of the height of each slice with body."""

    @classmethod
    def of(
        cls, body: NDArray[Any], height: NDArray[np.float64], spacing_mm: tuple[float, float, float]
    ) -> "SkullRays":
        """Lay the rays of a body mask.

        Args:
            body: Body mask [z, y, x], 0 or 1.
            height: Height of each slice in the body, 0 to 1, [z].
            spacing_mm: Voxel spacing (z, y, x), in mm.
        """
        inside = body.astype(bool)
        (slices,) = np.nonzero(inside.any(axis=(1, 2)))
        _, dy, dx = spacing_mm
        turns = np.arange(NUM_RAYS) * 2 * np.pi / NUM_RAYS
        towards = np.stack([-np.cos(turns) / dy, np.sin(turns) / dx])  # [2, directions]
        reach_mm = np.hypot(inside.shape[1] * dy, inside.shape[2] * dx)
        away_mm = np.arange(0, reach_mm, RAY_STEP_MM)
        inwards_mm = np.arange(NUM_SHELL_STEPS) * RAY_STEP_MM
        points = np.empty((3, len(slices), NUM_RAYS, NUM_SHELL_STEPS))
        before_middle = np.empty(points.shape[1:], bool)
        for number, z in enumerate(slices):
            middle = np.array([at.mean() for at in np.nonzero(inside[z])])
            # on_ray: [2, directions, steps], the pixel at each distance from the middle
            on_ray = middle[:, None, None] + towards[:, :, None] * away_mm
            y, x = np.rint(on_ray).astype(np.intp)
            framed = (y >= 0) & (y < inside.shape[1]) & (x >= 0) & (x < inside.shape[2])
            on_body = framed & inside[z, y * framed, x * framed]
            outline = away_mm[(on_body * np.arange(1, len(away_mm) + 1)).argmax(axis=1)]
            radius = np.maximum(outline[:, None] - inwards_mm, 0)
            before_middle[number] = inwards_mm < outline[:, None]
            points[0, number] = z
            points[1:, number] = middle[:, None, None] + towards[:, :, None] * radius
        tenths = (height[slices] * NUM_TENTHS).astype(np.intp).clip(0, NUM_TENTHS - 1)
        return cls(points=points, before_middle=before_middle, tenths=tenths)

    def thickness(self, hu: NDArray[Any]) -> SkullThickness:
        """Measure a CT [z, y, x] of the body, in HU."""
        values = map_coordinates(hu.astype(np.float32), self.points, order=1, mode="nearest")
        steps = ((values > BONE_HU) & self.before_middle).sum(axis=-1)  # [slices, directions]
        counts = np.zeros((NUM_TENTHS, NUM_SHELL_STEPS + 1), np.int64)
        np.add.at(counts, (self.tenths[:, None], steps), 1)
        return SkullThickness(counts=counts)


def thickness_mismatch_mm(ours: SkullThickness, theirs: SkullThickness) -> float | None:
    """Return how much the thicknesses at each tenth of the height differ, in mm.

    It is the Wasserstein-1 distance of their distributions, averaged over the tenths that both
    have; None if there is none.
    0 if the skulls are equally thick at every height, whoever has them; constant soft tissue gets
    the mean thickness of the real skulls.
    """
    both = ours.counts.any(axis=1) & theirs.counts.any(axis=1)
    if not both.any():
        return None
    shares = (
        np.cumsum(each.counts[both], axis=1) / each.counts[both].sum(axis=1, keepdims=True)
        for each in (ours, theirs)
    )
    distances = np.abs(np.subtract(*shares)).sum(axis=1) * RAY_STEP_MM
    return float(distances.mean())


def _by_tenth(totals: NDArray[Any], numbers: NDArray[Any]) -> list[float | None]:
    return [float(total / n) if n else None for total, n in zip(totals, numbers, strict=True)]
