"""Score a generator and the baselines on a split of a store."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from cyclegan.contrast.table import ContrastTable
from cyclegan.errors import DataError
from cyclegan.evaluate.baseline_scores import baselines_of
from cyclegan.evaluate.model_under_test import ModelUnderTest
from cyclegan.evaluate.score_table import (
    TRAIN_CTS,
    Scores,
    ShownVolume,
    VolumeScores,
)
from cyclegan.evaluate.score_volume import ScoredVolume, ScoringOptions, score_volume
from cyclegan.evaluate.segmenter import StructureScores, simplify_names
from cyclegan.inference.cycle import GENERATOR, CycleNetworks
from cyclegan.metrics.selection_score import selection_score
from cyclegan.metrics.skull_thickness import SkullThickness, thickness_mismatch_mm
from cyclegan.metrics.texture import kernel_distance, roughness_ratio
from cyclegan.metrics.unpaired_scores import (
    CtStatistics,
    bone_depth_mismatch,
    hu_distance,
    pool_statistics,
    region_distances,
    tissue_distances,
)
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.progress import progress, say_state

DEFAULTS = ScoringOptions()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationResults:
    """Results of the volumes scored so far; images only of those that will be shown."""

    rows: list[VolumeScores] = field(default_factory=list)
    populations: dict[str, CtStatistics] = field(default_factory=dict)
    skulls: dict[str, SkullThickness] = field(default_factory=dict)
    structures: list[StructureScores] = field(default_factory=list)
    shown: list[ShownVolume] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, assessed: ScoredVolume, num_shown: int) -> None:
        """Add the results of a volume; images are dropped unless shown, since a split may exceed
        memory."""
        self.rows.extend(assessed.rows)
        self.structures.extend(assessed.structures)
        self.failed.extend(assessed.problems)
        for method, population in assessed.populations.items():
            before = [self.populations[method]] if method in self.populations else []
            self.populations[method] = pool_statistics([*before, population])
        for method, skull in assessed.skulls.items():
            seen = self.skulls.get(method)
            self.skulls[method] = skull if seen is None else seen + skull
        if assessed.shown.cycle.volume.modality == "mri":
            self.shown[:] = worst_volumes([*self.shown, assessed.shown], num_shown)


def evaluate(
    networks: CycleNetworks,
    store: Store,
    split: Split,
    *,
    compared_models: Sequence[ModelUnderTest] = (),
    table: ContrastTable | None = None,
    options: ScoringOptions = DEFAULTS,
) -> Scores:
    """Score a generator on every volume of a split.

    Every volume goes through its cycle if the model has both directions; linked MRIs are compared
    with their real CT over the CT's body, within the field of view of both scans. A volume that
    cannot be read or scored is listed in `failed` and left out. The contrast table and a guided
    generator's look-up are among the baselines.

    Raises:
        DataError: The split is empty, or none of its volumes could be scored.
    """
    mris = list(store.select("mri", split).linked_first())
    say_state(f"Making the baselines from the training CTs ({len(store.select('ct', 'train'))})")
    baselines = baselines_of(
        store,
        mris,
        compared_models,
        register=options.register,
        table=table,
        look_up=networks.look_up,
    )
    found = EvaluationResults()
    volumes = [*mris, *(store.select("ct", split) if networks.to_mri else ())]
    with (
        progress(f"evaluate {split}", len(volumes)) as advance,
        ThreadPoolExecutor(options.threads) as threads,
    ):
        for volume in volumes:
            try:
                assessed = score_volume(networks, store, volume, baselines, options, threads)
            except (StoreError, DataError) as error:
                found.failed.append(str(error))
            else:
                found.add(assessed, options.num_shown)
            advance()
    if not found.rows:
        raise DataError(
            f"No volume of the {split} split of {store.path} could be scored: "
            f"{'; '.join(found.failed) or 'the split is empty'}. Give another --split or --store; "
            f"`python -m data_prep describe {store.path}` lists the splits."
        )
    scores = Scores(
        split=split,
        volumes=tuple(found.rows),
        protocol=options.protocol,
        grid="store" if options.native_grids is None else "source CT",
        spacing_mm=store.spacing_mm,
        compared_models=tuple(other.name for other in compared_models),
        registrations=dict(baselines.registrations) if options.register else None,
        segmenter=options.segmenter.command if options.segmenter else "",
        structures=tuple(simplify_names(found.structures)),
        shown=tuple(found.shown),
        failed=tuple(found.failed),
    )
    if baselines.real_cts is None or baselines.real_skulls is None:
        return scores
    compared = add_unpaired_comparisons(scores, found.populations, baselines.real_cts)
    return add_skulls(compared, found.skulls, baselines.real_skulls)


def worst_volumes(shown: list[ShownVolume], most: int) -> list[ShownVolume]:
    """Return the `most` volumes with the largest error, worst first; those without a real CT come
    last."""
    return sorted(shown, key=lambda each: -(each.mae_hu or 0.0))[:most]


def add_unpaired_comparisons(
    scores: Scores, populations: dict[str, CtStatistics], real_cts: CtStatistics
) -> Scores:
    """Return the scores with each method's pooled synthetic CTs compared with the real CTs."""
    found = {
        method: {
            "hu_distance": hu_distance(population, real_cts),
            **tissue_distances(population, real_cts),
            "bone_depth_mismatch": bone_depth_mismatch(population, real_cts),
            **region_distances(population, real_cts),
            "roughness_ratio": roughness_ratio(population.roughness, real_cts.roughness),
            **(
                {}
                if (distance := kernel_distance(population.features, real_cts.features)) is None
                else {"kernel_distance": distance}
            ),
        }
        for method, population in populations.items()
    }
    cycles = [mean for _, mean in scores.means_by_modality("cycle_ssim")]
    if cycles and GENERATOR in populations:
        score = selection_score(populations[GENERATOR], real_cts, float(np.mean(cycles)))
        found[GENERATOR]["selection"] = score
    return replace(scores, populations=found)


def add_skulls(scores: Scores, skulls: dict[str, SkullThickness], real: SkullThickness) -> Scores:
    """Return the scores with the skulls of each method, and how they differ from the real ones."""
    found = {
        method: values
        | (
            {}
            if (mismatch := thickness_mismatch_mm(skulls[method], real)) is None
            else {"skull_mismatch_mm": mismatch}
        )
        for method, values in scores.populations.items()
    }
    return replace(scores, populations=found, skulls=skulls | {TRAIN_CTS: real})
