"""A split of a store through both translators, scored with the baselines beside.

It knows neither where the translators came from nor what a report looks like.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cyclegan.config import Config
from cyclegan.errors import DataError
from cyclegan.evaluate.contestant import Contestant
from cyclegan.evaluate.scorecard import (
    HISTOGRAM,
    REGRESSION,
    SOFT_TISSUE,
    TRANSLATOR,
    Scores,
    Shown,
    VolumeScores,
)
from cyclegan.infer.cycle import BothWays, Cycle
from cyclegan.infer.pairs import field_of_view, linked_ct
from cyclegan.infer.slices import Network
from cyclegan.scores.anatomy import edge_agreement, outline_agreement
from cyclegan.scores.baselines import (
    IntensityRegression,
    constant_soft_tissue,
    matched_histogram,
    regression_of,
)
from cyclegan.scores.metrics import PROTOCOLS, ProtocolName, all_paired_scores, dice
from cyclegan.scores.selection import selection_score
from cyclegan.scores.texture import kernel_distance, roughness_ratio
from cyclegan.scores.unpaired import (
    Population,
    bone_depth_mismatch,
    cycle_scores,
    hu_distance,
    pooled,
    population_of,
)
from cyclegan.train.validate import train_ct_population
from data_prep.errors import StoreError
from data_prep.intensity import normalise
from data_prep.progress import progress
from data_prep.split import Split
from data_prep.store import Store, StoredVolume


def evaluate(
    translators: tuple[Network, Network],
    config: Config,
    store: Store,
    split: Split,
    *,
    rivals: Sequence[Contestant] = (),
    protocol: ProtocolName = "synthrad2025",
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    num_shown: int = 3,
) -> Scores:
    """Score (to_ct, to_mri) on every volume of a split.

    Every volume goes through its cycle; linked MRIs are compared with their real CT over the CT's
    body mask. The `num_shown` MRIs with the largest error are kept for pictures. A volume that
    cannot be read is listed in `failed` and left out.

    Raises:
        DataError: The split is empty, or none of it could be read.
    """
    to_ct, to_mri = translators
    networks = BothWays(
        to_ct=to_ct,
        to_mri=to_mri,
        contrast=config.data.mri_contrast,
        device=device,
        batch_size=batch_size,
        neighbours=config.data.neighbours,
        conditions=config.data.conditions,
    )
    mris = sorted(store.select("mri", split), key=lambda volume: volume.link is None)
    rows: list[VolumeScores] = []
    populations: dict[str, list[Population]] = defaultdict(list)
    shown: list[Shown] = []
    failed: list[str] = []
    references = references_of(store, mris, rivals)
    volumes = [*mris, *store.select("ct", split)]
    with progress(f"evaluate {split}", len(volumes)) as advance:
        for volume in volumes:
            try:
                assessed = assess(networks, store, volume, references, protocol)
            except StoreError as error:
                failed.append(str(error))
            else:
                rows += assessed.rows
                for method, population in assessed.populations.items():
                    populations[method].append(population)
                if volume.modality == "mri":
                    # Only what will be shown is kept: a split may have more volumes than memory.
                    shown = worst([*shown, assessed.shown], num_shown)
            advance()
    if not rows:
        raise DataError(
            f"nothing of the split {split} of {store.path} could be scored: "
            f"{'; '.join(failed) or 'no volume belongs to it'}. Give another --split or --store; "
            f"`python -m data_prep describe {store.path}` shows what there is."
        )
    scores = Scores(
        split=split,
        volumes=tuple(rows),
        protocol=protocol,
        rivals=tuple(rival.name for rival in rivals),
        shown=tuple(shown),
        failed=tuple(failed),
    )
    if references.real_cts is None:
        return scores
    return compared(scores, populations, references.real_cts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class References:
    """What the translator is compared with, and what the baselines know of real CTs."""

    real_cts: Population | None
    """The train split's."""
    regressions: Mapping[str, IntensityRegression]
    """By MRI volume, of the evaluated split's own pairs."""
    rivals: Sequence[Contestant]

    def regression_without(self, volume: str) -> IntensityRegression | None:
        """Fitted on all pairs but this volume's; None where there is no other."""
        others = [fit for name, fit in self.regressions.items() if name != volume]
        return sum(others[1:], start=others[0]) if others else None


def references_of(
    store: Store, mris: Sequence[StoredVolume], rivals: Sequence[Contestant]
) -> References:
    """What the baselines are made from; pairs that cannot be read are passed over."""
    regressions = {}
    for volume in mris:
        with suppress(StoreError):  # named when its turn comes
            if real := linked_ct(store, volume):
                images = normalise(store.voxels(volume).astype(np.float32), volume.window)
                regressions[volume.name] = regression_of(images, *real)
    real_cts = train_ct_population(store) if store.select("ct", "train") else None
    return References(real_cts=real_cts, regressions=regressions, rivals=rivals)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assessed:
    """One volume's part of an evaluation."""

    rows: list[VolumeScores]
    populations: dict[str, Population]
    """By method, of an MRI's synthetic CTs."""
    shown: Shown


def worst(shown: list[Shown], most: int) -> list[Shown]:
    """Those with the largest error, worst first; those without a real CT come last."""
    return sorted(shown, key=lambda each: -(each.mae_hu or 0.0))[:most]


def assess(
    networks: BothWays,
    store: Store,
    volume: StoredVolume,
    references: References,
    protocol: ProtocolName,
) -> Assessed:
    """Translate one volume both ways and score it, the baselines beside."""
    cycle = networks.cycle(store, volume)
    cts = synthetic_cts(networks, store, cycle, references) if volume.modality == "mri" else {}
    real = linked_ct(store, volume) if volume.modality == "mri" else None
    values: dict[str, dict[str, float]] = {TRANSLATOR: cycle_scores(*cycle.compared())}
    for method in (TRANSLATOR, *(rival.name for rival in references.rivals)):
        if method in cts:  # a baseline has the MRI's own outline
            values[method] = values.get(method, {}) | {
                "edge_agreement": edge_agreement(cycle.original, cts[method], cycle.body),
                "shape_dice": outline_agreement(cts[method], cycle.body, store.spacing_mm),
            }
    if real:
        for method, hu in cts.items():
            values[method] = values.get(method, {}) | all_paired_scores(
                hu, *real, spacing_mm=store.spacing_mm, protocol=PROTOCOLS[protocol]
            )
        values[TRANSLATOR]["outline_dice"] = dice(cycle.body & field_of_view(volume), real[1])
    return Assessed(
        rows=[
            VolumeScores(
                volume=volume.name,
                subject=volume.subject,
                modality=volume.modality,
                method=method,
                values=each,
            )
            for method, each in values.items()
        ],
        populations={
            method: population_of(hu, cycle.body, store.spacing_mm) for method, hu in cts.items()
        },
        shown=Shown(
            cycle=cycle,
            real=real[0] if real else None,
            mae_hu=values[TRANSLATOR].get("mae_hu"),
            spacing_mm=store.spacing_mm,
        ),
    )


def synthetic_cts(
    networks: BothWays, store: Store, cycle: Cycle, references: References
) -> dict[str, NDArray[np.float32]]:
    """Each method's CT of one MRI, in HU."""
    voxels, body = store.voxels(cycle.volume), store.body(cycle.volume)
    cts = {TRANSLATOR: cycle.translated, SOFT_TISSUE: constant_soft_tissue(body)}
    for rival in references.rivals:
        its = replace(networks, to_ct=rival.to_ct, contrast=rival.contrast)
        _, cts[rival.name] = its.translated(voxels, body, cycle.volume)
    if references.real_cts is not None:
        cts[HISTOGRAM] = matched_histogram(voxels, body, references.real_cts)
    if others := references.regression_without(cycle.volume.name):
        cts[REGRESSION] = others.predict(cycle.original, cycle.body)
    return cts


def compared(
    scores: Scores, populations: dict[str, list[Population]], real_cts: Population
) -> Scores:
    """The scores with each method's synthetic CTs, pooled, held against the real population."""
    together = {method: pooled(each) for method, each in populations.items()}
    found = {
        method: {
            "hu_distance": hu_distance(population, real_cts),
            "bone_depth_mismatch": bone_depth_mismatch(population, real_cts),
            "roughness_ratio": roughness_ratio(population.roughness, real_cts.roughness),
            **(
                {}
                if (distance := kernel_distance(population.features, real_cts.features)) is None
                else {"kernel_distance": distance}
            ),
        }
        for method, population in together.items()
    }
    if TRANSLATOR in together:
        cycle_ssim = float(np.mean([mean for _, mean in scores.means_by_modality("cycle_ssim")]))
        found[TRANSLATOR]["selection"] = selection_score(together[TRANSLATOR], real_cts, cycle_ssim)
    return replace(scores, populations=found)
