"""A head of either generator, ready to be scanned."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.anatomy import make_anatomy
from data_prep.phantom.level_head import LevelPerson, make_level_head
from data_prep.phantom.level_scanner import scan_level_ct, scan_level_mri
from data_prep.phantom.person import Subject
from data_prep.phantom.scanner import CtScan, MriScan, acquire_ct, acquire_mri, sample_on_grid
from data_prep.phantom.settings import CohortSettings
from data_prep.phantom.shapes import Array
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid

Person = TypeVar("Person", Subject, LevelPerson)


def changed(person: Person, factors: Mapping[str, float]) -> Person:
    """Return a person whose lengths are multiplied by factors."""
    return replace(person, **{name: getattr(person, name) * by for name, by in factors.items()})


class ShapesHead:
    """A head of the generator `shapes`."""

    def __init__(self, subject: Subject, settings: CohortSettings) -> None:
        self.centre_mm = subject.shift_mm
        self._anatomy = make_anatomy(subject, spacing_mm=settings.anatomy_mm)
        self._settings = settings

    def scan(self, modality: Modality, grid: Grid, rng: np.random.Generator) -> Array:
        """Return a scan [z, y, x] by a protocol of its own."""
        if modality == "ct":
            return acquire_ct(self._anatomy, grid, CtScan.draw(rng), rng)
        protocol = replace(
            MriScan.draw(rng),
            weighting=self._settings.mri_weighting,
            contrast_agent=self._settings.contrast_agent,
        )
        return acquire_mri(self._anatomy, grid, protocol, rng)

    def odd_region(self, grid: Grid) -> NDArray[np.bool_] | None:
        """Return where the head is odd, [z, y, x]; None if it is nowhere or everywhere."""
        if self._anatomy.odd is None:
            return None
        region = self._anatomy.odd.astype(np.float32)
        return np.asarray(sample_on_grid(region, self._anatomy.affine, grid) > 0.5)


class LevelsHead:
    """A head of the generator `levels`."""

    def __init__(self, person: LevelPerson, settings: CohortSettings) -> None:
        self.centre_mm = person.shift_mm
        self._head = make_level_head(person, spacing_mm=settings.anatomy_mm)

    def scan(self, modality: Modality, grid: Grid, rng: np.random.Generator) -> Array:
        """Return a scan [z, y, x] by a protocol of its own."""
        scan = scan_level_ct if modality == "ct" else scan_level_mri
        return scan(self._head, grid, rng)

    def odd_region(self, grid: Grid) -> None:
        """Return None: no head is odd."""
