"""Score a generator and the baselines on a split of a store."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from cyclegan.errors import DataError
from cyclegan.evaluate.baseline_scores import references_of
from cyclegan.evaluate.model_under_test import Contestant
from cyclegan.evaluate.score_table import TRANSLATOR, Scores, Shown, VolumeScores
from cyclegan.evaluate.score_volume import Assessed, Options, assess
from cyclegan.evaluate.segmenter import StructureScores, plainly_named
from cyclegan.inference.cycle import BothWays
from cyclegan.metrics.selection_score import selection_score
from cyclegan.metrics.texture import kernel_distance, roughness_ratio
from cyclegan.metrics.unpaired_scores import (
    Population,
    bone_depth_mismatch,
    hu_distance,
    place_distances,
    pooled,
    tissue_distances,
)
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.progress import progress

DEFAULTS = Options()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Findings:
    """Results of the volumes scored so far; images only of those that will be shown."""

    rows: list[VolumeScores] = field(default_factory=list)
    populations: dict[str, Population] = field(default_factory=dict)
    structures: list[StructureScores] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, assessed: Assessed, num_shown: int) -> None:
        """Add the results of a volume; images are dropped unless shown, since a split may exceed
        memory."""
        self.rows.extend(assessed.rows)
        self.structures.extend(assessed.structures)
        self.failed.extend(assessed.problems)
        for method, population in assessed.populations.items():
            before = [self.populations[method]] if method in self.populations else []
            self.populations[method] = pooled([*before, population])
        if assessed.shown.cycle.volume.modality == "mri":
            self.shown[:] = worst([*self.shown, assessed.shown], num_shown)


def evaluate(
    networks: BothWays,
    store: Store,
    split: Split,
    *,
    rivals: Sequence[Contestant] = (),
    options: Options = DEFAULTS,
) -> Scores:
    """Score a generator on every volume of a split.

    Every volume goes through its cycle if the model has both directions; linked MRIs are compared
    with their real CT over the CT's body, within the field of view of both scans. A volume that
    cannot be read or scored is listed in `failed` and left out.

    Raises:
        DataError: The split is empty, or none of its volumes could be scored.
    """
    mris = list(store.select("mri", split).linked_first())
    references = references_of(store, mris, rivals, register=options.register)
    found = Findings()
    volumes = [*mris, *(store.select("ct", split) if networks.to_mri else ())]
    with (
        progress(f"evaluate {split}", len(volumes)) as advance,
        ThreadPoolExecutor(options.threads) as threads,
    ):
        for volume in volumes:
            try:
                assessed = assess(networks, store, volume, references, options, threads)
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
        grid="store" if options.natives is None else "source CT",
        spacing_mm=store.spacing_mm,
        rivals=tuple(rival.name for rival in rivals),
        registrations=dict(references.registrations) if options.register else None,
        segmenter=options.segmenter.command if options.segmenter else "",
        structures=tuple(plainly_named(found.structures)),
        shown=tuple(found.shown),
        failed=tuple(found.failed),
    )
    if references.real_cts is None:
        return scores
    return compared(scores, found.populations, references.real_cts)


def worst(shown: list[Shown], most: int) -> list[Shown]:
    """Return the `most` volumes with the largest error, worst first; those without a real CT come
    last."""
    return sorted(shown, key=lambda each: -(each.mae_hu or 0.0))[:most]


def compared(scores: Scores, populations: dict[str, Population], real_cts: Population) -> Scores:
    """Return the scores with each method's pooled synthetic CTs compared with the real CTs."""
    found = {
        method: {
            "hu_distance": hu_distance(population, real_cts),
            **tissue_distances(population, real_cts),
            "bone_depth_mismatch": bone_depth_mismatch(population, real_cts),
            **place_distances(population, real_cts),
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
    if cycles and TRANSLATOR in populations:
        score = selection_score(populations[TRANSLATOR], real_cts, float(np.mean(cycles)))
        found[TRANSLATOR]["selection"] = score
    return replace(scores, populations=found)
