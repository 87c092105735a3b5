"""Parameters in which synthetic heads differ."""

from dataclasses import dataclass

import numpy as np

from data_prep.phantom.settings import Oddity
from data_prep.phantom.shapes import Point


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Parameters of one head. The defaults are the average adult."""

    scale: Point = (1.0, 1.0, 1.0)
    """Size along (x, y, z), relative to the template."""
    turn_deg: Point = (0.0, 0.0, 0.0)
    """Pose in the scanner: nod, tilt, and turn about x, y, z."""
    shift_mm: Point = (0.0, 0.0, 0.0)
    """Template origin in the world, (x, y, z)."""
    elastic_mm: float = 2.0
    """Standard deviation of a smooth displacement, features about 10 cm."""
    skull_mm: float = 6.5
    """Thickness of the calvarium."""
    table_mm: float = 1.7
    """Thickness of compact bone over spongy bone."""
    fat_mm: float = 4.0
    """Thickness of fat under the scalp; face and neck carry half as much again."""
    fluid_mm: float = 2.6
    """Thickness of the fluid between skull and brain."""
    cortex_mm: float = 3.0
    ventricle_scale: float = 1.0
    sinus_scale: float = 1.0
    texture_seed: int = 0
    """Random seed of the course of sulci, displacement, septa, and muscle planes."""
    oddity: Oddity = "none"
    """In what the head differs from all others; its tissues come on top of the rest."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Subject":
        """Return a random adult; spreads are of the order seen between adults."""
        size = rng.normal(1, 0.025)
        return cls(
            scale=tuple(size * rng.normal(1, 0.02, 3)),
            turn_deg=tuple(rng.normal(0, (5, 2, 3))),
            shift_mm=tuple(rng.normal(0, (3, 5, 3))),
            elastic_mm=rng.uniform(1.0, 2.5),
            skull_mm=rng.uniform(5.2, 8.2),
            table_mm=rng.uniform(1.4, 2.1),
            fat_mm=rng.uniform(2.5, 5.5),
            fluid_mm=rng.uniform(1.8, 3.8),
            cortex_mm=rng.uniform(2.6, 3.4),
            ventricle_scale=rng.uniform(0.6, 2.2),
            sinus_scale=rng.uniform(0.75, 1.1),
            texture_seed=int(rng.integers(2**31)),
        )
