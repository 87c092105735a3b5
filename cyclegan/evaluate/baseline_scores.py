"""What a generator is compared with: baselines and other models."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cyclegan.atlas.atlas import CtAtlas, train_atlas
from cyclegan.contrast.table import ContrastTable
from cyclegan.errors import DataError
from cyclegan.evaluate.model_under_test import ModelUnderTest
from cyclegan.evaluate.paired_ct import Registration, paired_ct_of, registration, rigid_of
from cyclegan.evaluate.score_table import (
    ATLAS_MEAN,
    ATLAS_MEDIAN,
    CONTRAST_TABLE,
    HISTOGRAM,
    LOOK_UP,
    REGRESSION,
    SOFT_TISSUE,
)
from cyclegan.inference.cycle import GENERATOR, CycleNetworks, CycleResult
from cyclegan.metrics.baselines import (
    IntensityRegression,
    constant_soft_tissue,
    match_histogram,
    regression_of,
)
from cyclegan.metrics.selection_score import train_ct_statistics
from cyclegan.metrics.skull_thickness import SkullRays, SkullThickness
from cyclegan.metrics.unpaired_scores import CtStatistics
from data_prep.store.store import Store, StoredVolume
from mrct.errors import StoreError
from mrct.imaging.intensity import normalise
from mrct.imaging.registration import RigidTransform
from mrct.progress import progress


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Baselines:
    """What the generator is compared with, and the real CT data that the baselines use."""

    real_cts: CtStatistics | None
    """The real CTs of the train split; None if it has none, and so for the next two."""
    atlas: CtAtlas | None
    """Their mean and median by position."""
    real_skulls: SkullThickness | None
    """The thickness of their skulls."""
    regressions: Mapping[str, IntensityRegression]
    """Regression of each pair of the evaluated split, by MRI volume."""
    rigids: Mapping[str, RigidTransform]
    """Rigid transform of the real CT onto its MRI, by MRI volume; absent if none is applied."""
    registrations: Mapping[str, Registration]
    """Result of each registration, by MRI volume; empty without --register."""
    table: ContrastTable | None
    """The contrast table of the run, if it has one."""
    look_up: CycleNetworks | None
    """A guided generator without its correction."""
    compared_models: Sequence[ModelUnderTest]

    def regression_without(self, volume: str) -> IntensityRegression | None:
        """Return the regression fitted on all pairs except that of this volume; None if there is no
        other."""
        others = [fit for name, fit in self.regressions.items() if name != volume]
        return sum(others[1:], start=others[0]) if others else None

    def synthetic_cts(self, store: Store, cycle: CycleResult) -> dict[str, NDArray[np.float32]]:
        """Return the CT in HU that each method makes from the MRI of a cycle."""
        voxels, body = store.voxels(cycle.volume), store.body(cycle.volume)
        cts = {GENERATOR: cycle.translated}
        for other in self.compared_models:
            _, cts[other.name] = other.networks.translated(voxels, body, cycle.volume)
        if self.look_up is not None:
            _, cts[LOOK_UP] = self.look_up.translated(voxels, body, cycle.volume)
        cts[SOFT_TISSUE] = constant_soft_tissue(body)
        if self.atlas is not None:
            cts[ATLAS_MEAN], cts[ATLAS_MEDIAN] = self.atlas.both(body, cycle.volume.height)
        with suppress(DataError):  # of an MRI that it cannot standardise, the others are scored
            if self.table is not None:
                cts[CONTRAST_TABLE] = self.table.synthetic_ct(voxels, body, cycle.volume.height)
        if self.real_cts is not None:
            cts[HISTOGRAM] = match_histogram(voxels, body, self.real_cts)
        if others := self.regression_without(cycle.volume.name):
            cts[REGRESSION] = others.predict(cycle.original, cycle.body)
        return cts


def baselines_of(
    store: Store,
    mris: Iterable[StoredVolume],
    compared_models: Sequence[ModelUnderTest],
    *,
    register: bool,
    table: ContrastTable | None = None,
    look_up: CycleNetworks | None = None,
) -> Baselines:
    """Fit the baselines and registrations; pairs that cannot be read are skipped."""
    pairs = [mri for mri in mris if store.volumes.named(mri.link or "")]
    regressions: dict[str, IntensityRegression] = {}
    rigids: dict[str, RigidTransform] = {}
    registrations: dict[str, Registration] = {}
    with progress("register" if register else "fit baselines", len(pairs)) as advance:
        for mri in pairs:
            with suppress(StoreError):  # reported when the volume itself is scored
                pair = paired_ct_of(store, mri)
                assert pair is not None
                if register:
                    rigid = rigid_of(store, mri)
                    moved = paired_ct_of(store, mri, rigid=rigid)
                    assert moved is not None
                    registrations[mri.name] = registration(pair, moved)
                    if registrations[mri.name].applied:
                        pair, rigids[mri.name] = moved, rigid
                if pair.scored.any():  # else reported when the volume itself is scored
                    images = normalise(store.voxels(mri).astype(np.float32), mri.window)
                    regressions[mri.name] = regression_of(images, pair.real, pair.scored)
            advance()
    has_cts = bool(store.select("ct", "train"))
    return Baselines(
        real_cts=train_ct_statistics(store) if has_cts else None,
        atlas=train_atlas(store) if has_cts else None,
        real_skulls=train_skulls(store) if has_cts else None,
        regressions=regressions,
        rigids=rigids,
        registrations=registrations,
        table=table,
        look_up=look_up,
        compared_models=compared_models,
    )


@lru_cache(maxsize=2)
def train_skulls(store: Store) -> SkullThickness:
    """Return the thickness of the skulls of the CTs of the train split, which has one."""
    first, *others = (
        SkullRays.of(store.body(ct), ct.height, store.spacing_mm).thickness(store.voxels(ct))
        for ct in store.select("ct", "train")
    )
    return sum(others, start=first)
