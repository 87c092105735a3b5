"""Translate one volume and score it together with the baselines."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cyclegan.atlas.patient_scores import patient_scores
from cyclegan.errors import DataError
from cyclegan.evaluate.baseline_scores import Baselines
from cyclegan.evaluate.native_grid import NativeGridReader
from cyclegan.evaluate.paired_ct import PairedCt, paired_ct_of
from cyclegan.evaluate.score_table import (
    ALIGNMENT,
    ATLAS_MEAN,
    ATLAS_MEDIAN,
    ShownVolume,
    VolumeScores,
)
from cyclegan.evaluate.segmenter import Segmenter, StructureScores, compare_structures
from cyclegan.inference.cycle import GENERATOR, CycleNetworks
from cyclegan.metrics.body_regions import BodyMap
from cyclegan.metrics.paired_scores import all_paired_scores, height_mae_hu
from cyclegan.metrics.protocol import PROTOCOLS, ProtocolName
from cyclegan.metrics.skull_thickness import SkullRays, SkullThickness
from cyclegan.metrics.structural_agreement import edge_agreement, outline_agreement
from cyclegan.metrics.unpaired_scores import CtStatistics, ct_statistics_in, cycle_scores
from data_prep.store.store import Store, StoredVolume

SyntheticCts = Mapping[str, NDArray[np.float32]]
"""Synthetic CTs of one MRI in HU [z, y, x], by method."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringOptions:
    """Options for scoring volumes."""

    protocol: ProtocolName = "synthrad2025"
    register: bool = False
    """Register each real CT to its MRI first."""
    native_grids: NativeGridReader | None = None
    """Score pairs on the grids of these source CTs; None: on the store's grid."""
    segmenter: Segmenter | None = None
    num_shown: int = 3
    """Number of MRI volumes kept for figures, those with the largest error."""
    threads: int = 1
    """Methods of a volume that are scored in parallel."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoredVolume:
    """Results of one volume."""

    rows: list[VolumeScores]
    populations: dict[str, CtStatistics]
    """Distributions of the synthetic CTs of an MRI, by method."""
    skulls: dict[str, SkullThickness]
    """Thickness of their skulls, by method."""
    structures: list[StructureScores]
    problems: list[str]
    """Messages about scores that could not be computed although the volume could be read."""
    shown: ShownVolume


def score_volume(
    networks: CycleNetworks,
    store: Store,
    volume: StoredVolume,
    baselines: Baselines,
    options: ScoringOptions,
    threads: Executor,
) -> ScoredVolume:
    """Translate one volume, in a cycle if the model has both directions, and score it.

    Raises:
        StoreError: The volume differs from its commit record.
        DataError: The network's output is not finite.
    """
    cycle = networks.cycle(store, volume)
    cts: SyntheticCts = {}
    pair = None
    if volume.modality == "mri":
        cts = baselines.synthetic_cts(store, cycle)
        pair = paired_ct_of(store, volume, rigid=baselines.rigids.get(volume.name))
    back = (
        {}
        if cycle.returned is None
        else {f"{GENERATOR}, back to the original modality,": cycle.returned}
    )
    require_finite(volume, {GENERATOR: cycle.translated, **cts, **back})
    table = VolumeTable()
    if cycle.returned is not None:
        table.add(GENERATOR, cycle_scores(*cycle.compared()))
    trained = [
        m for m in (GENERATOR, *(other.name for other in baselines.compared_models)) if m in cts
    ]
    for method in trained:  # a baseline has the MRI's own outline by construction
        outline = outline_agreement(cts[method], cycle.body, store.spacing_mm)
        edges = edge_agreement(cycle.original, cts[method], cycle.body)
        table.add(method, {"edge_agreement": edges, "shape_dice": outline})
    if pair is not None:
        table.add(GENERATOR, {name: getattr(pair, name) for name in ALIGNMENT})
        try:
            score_pair(table, pair, cts, trained, options, threads)
        except DataError as error:
            table.problems.append(f"{volume.name} against its real CT: {error}")
    return ScoredVolume(
        rows=table.rows(volume),
        structures=table.structures,
        problems=table.problems,
        populations=populations_of(cts, cycle.body, volume, store.spacing_mm) if cts else {},
        skulls=skulls_of(cts, cycle.body, volume, store.spacing_mm) if cts else {},
        shown=ShownVolume(
            cycle=cycle,
            real=pair.real if pair else None,
            compared=pair.scored if pair else None,
            mae_hu=table.values[GENERATOR].get("mae_hu"),
            spacing_mm=store.spacing_mm,
        ),
    )


def populations_of(
    cts: SyntheticCts,
    body: NDArray[np.bool_],
    volume: StoredVolume,
    spacing_mm: tuple[float, float, float],
) -> dict[str, CtStatistics]:
    """Return the distributions of synthetic CTs, whose body mask they share, by method."""
    located = BodyMap.of(body, spacing_mm, volume.height)
    return {method: ct_statistics_in(hu, located) for method, hu in cts.items()}


def skulls_of(
    cts: SyntheticCts,
    body: NDArray[np.bool_],
    volume: StoredVolume,
    spacing_mm: tuple[float, float, float],
) -> dict[str, SkullThickness]:
    """Return the thickness of the skull in synthetic CTs of one body, by method."""
    rays = SkullRays.of(body, volume.height, spacing_mm)
    return {method: rays.thickness(hu) for method, hu in cts.items()}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VolumeTable:
    """Scores of a volume so far, by method."""

    values: dict[str, dict[str, float]] = field(default_factory=lambda: {GENERATOR: {}})
    heights: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    structures: list[StructureScores] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, method: str, values: Mapping[str, float]) -> None:
        """Add scores of a method."""
        self.values.setdefault(method, {}).update(values)

    def rows(self, volume: StoredVolume) -> list[VolumeScores]:
        """Return one row per method."""
        return [
            VolumeScores(
                volume=volume.name,
                subject=volume.subject,
                modality=volume.modality,
                method=method,
                values=values,
                heights=self.heights.get(method, ()),
            )
            for method, values in self.values.items()
        ]


def score_pair(
    table: VolumeTable,
    pair: PairedCt,
    cts: SyntheticCts,
    trained: list[str],
    options: ScoringOptions,
    threads: Executor,
) -> None:
    """Add the scores of each method against the real CT, and of the segmented structures for
    networks.

    Raises:
        DataError: There is no voxel to compare, or the source CT or the segmenter failed.
    """
    if options.native_grids is not None:
        pair = options.native_grids.on_native_grid(pair)
    if not pair.scored.any():
        raise DataError(
            "No voxel where scores count is in the field of view of both scans, so there is "
            "nothing to compare. Check that both scans show the same anatomy."
        )

    atlas = {
        name: pair.resample(cts[method])
        for name, method in (("mean", ATLAS_MEAN), ("median", ATLAS_MEDIAN))
        if method in cts
    }

    def scored(method: str) -> tuple[dict[str, float], list[float | None]]:
        hu = pair.resample(cts[method])
        protocol = PROTOCOLS[options.protocol]
        scores = all_paired_scores(
            hu, pair.real, pair.scored, spacing_mm=pair.spacing_mm, protocol=protocol
        )
        if atlas:
            scores |= patient_scores(hu, pair.real, pair.scored, **atlas)
        return scores, height_mae_hu(hu, pair.real, pair.scored)

    for method, (scores, heights) in zip(cts, threads.map(scored, cts), strict=True):
        table.add(method, scores)
        table.heights[method] = tuple(heights)
    if options.segmenter is None:
        return
    real = options.segmenter.structures(pair.real, pair.affine)
    for method in trained:
        found = options.segmenter.structures(pair.resample(cts[method]), pair.affine)
        for name, (overlap, distance) in compare_structures(
            found, real, pair.seen, pair.spacing_mm
        ).items():
            structure = StructureScores(
                volume=pair.mri.name,
                subject=pair.mri.subject,
                method=method,
                structure=name,
                dice=overlap,
                hd95_mm=distance,
            )
            table.structures.append(structure)


def require_finite(volume: StoredVolume, made: SyntheticCts) -> None:
    """Check that results are finite: scores of a diverged network would be meaningless.

    Raises:
        DataError: A method's result has values that are NaN or infinite.
    """
    for method, values in made.items():
        if not np.isfinite(values).all():
            raise DataError(
                f"{volume.name}: The output of {method} contains NaN or infinite values, so the "
                "volume has no score. The weights have diverged; score an earlier checkpoint."
            )
