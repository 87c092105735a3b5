"""The scores of an evaluation, by volume and method."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cyclegan.evaluate.paired_ct import Registration
from cyclegan.evaluate.segmenter import StructureScores
from cyclegan.inference.cycle import GENERATOR, CycleResult
from cyclegan.metrics.protocol import ProtocolName
from cyclegan.metrics.skull_thickness import SkullThickness
from cyclegan.metrics.statistics import Comparison, Interval, compare, mean_interval
from data_prep.datasets.split import Split
from mrct.imaging.modality import MODALITIES, Modality

LOOK_UP = "its look-up alone"
"""The look-up that a guided generator corrects."""
SOFT_TISSUE = "constant soft tissue"
HISTOGRAM = "histogram matching"
REGRESSION = "intensity regression"
ATLAS_MEAN = "atlas, mean"
ATLAS_MEDIAN = "atlas, median"
CONTRAST_TABLE = "contrast table"
BASELINES = (
    LOOK_UP,
    CONTRAST_TABLE,
    ATLAS_MEDIAN,
    ATLAS_MEAN,
    REGRESSION,
    HISTOGRAM,
    SOFT_TISSUE,
)
TRAIN_CTS = "CTs of the train split"
ALIGNED = 0.9
"""Dice of a pair's body outlines below which its voxels cannot be compared one by one."""
MIN_SHARE_SEEN = 0.9
"""Share of a pair's bodies below which the other scan's field of view is called partial."""
FEWEST_SUBJECTS = 3
"""With fewer subjects, a mean does not generalise to others."""
PAIRED = ("mae_hu", "psnr_db", "ssim", "ms_ssim", "bone_dice")
DETAIL = (
    "mae_air_hu",
    "mae_air_rim_hu",
    "mae_air_cavity_hu",
    "mae_soft_hu",
    "mae_bone_hu",
    "bias_hu",
    "histogram_hu",
    "bone_hd95_mm",
)
"""Paired scores that locate the error."""
AGAINST_ATLAS = ("skill", "patient_r")
"""Paired scores against the atlas of the train split's CTs: what is known of this patient."""
CYCLE = ("cycle_ssim", "cycle_psnr_db")
UNPAIRED = ("edge_agreement", "shape_dice")
"""Scores of one synthetic CT against its own MRI."""
POPULATION = (
    "hu_distance",
    "hu_distance_air",
    "hu_distance_soft",
    "hu_distance_bone",
    "hu_place_distance",
    "bone_depth_mismatch",
    "bone_place_mismatch",
    "skull_mismatch_mm",
    "roughness_ratio",
    "kernel_distance",
)
ALIGNMENT = ("outline_dice", "outline_dice_limit", "share_seen")
"""Agreement of the two scans of a pair, independent of the generator."""
GridName = Literal["store", "source CT"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeScores:
    """Scores of one volume by one method."""

    volume: str
    subject: str
    """Pseudonym of the subject."""
    modality: Modality
    method: str
    values: dict[str, float]
    """Scores by name: `PAIRED`, `DETAIL` and `AGAINST_ATLAS` for an MRI with a real CT, `UNPAIRED`
    for any synthetic CT of a network, `CYCLE` for the generator, and for its pairs `ALIGNMENT`: how
    well the bodies of MRI and CT agree, and the share of them in the field of view of both."""
    heights: tuple[float | None, ...] = ()
    """MAE in HU by tenths of the compared slices, from the lowest up, for an MRI with a real CT."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShownVolume:
    """The images of a volume for figures."""

    cycle: CycleResult
    real: NDArray[np.int16] | NDArray[np.float32] | None
    """HU [z, y, x] of the CT of the same anatomy on the store's grid, if there is one."""
    compared: NDArray[np.bool_] | None
    """Mask of the compared voxels."""
    mae_hu: float | None
    """Error of the generator against the real CT."""
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """All scores of an evaluation."""

    split: Split
    volumes: tuple[VolumeScores, ...]
    protocol: ProtocolName = "synthrad2025"
    grid: GridName = "store"
    """Grid of the paired scores; all others are on the store's grid."""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Spacing of the store's voxels (z, y, x)."""
    compared_models: tuple[str, ...] = ()
    """Names of the other runs and models."""
    registrations: dict[str, Registration] | None = None
    """Registration of each real CT, by MRI volume; None if pairs were not registered."""
    segmenter: str = ""
    """Command that `structures` come from."""
    structures: tuple[StructureScores, ...] = ()
    populations: dict[str, dict[str, float]] = field(default_factory=dict)
    """By method: `POPULATION`, all synthetic CTs against the CTs of the train split, and
    `selection` for the generator. Empty if the train split has no CT."""
    skulls: dict[str, SkullThickness] = field(default_factory=dict)
    """Thickness of the skull of all synthetic CTs by method, and of `TRAIN_CTS`."""
    shown: tuple[ShownVolume, ...] = field(default=(), repr=False)
    failed: tuple[str, ...] = ()
    """Error message of each volume that could not be read or scored."""

    def of(
        self, metric: str, *, method: str = GENERATOR, modality: Modality = "mri"
    ) -> list[float]:
        """Return the values of a metric for all volumes that have it."""
        return [
            row.values[metric]
            for row in self.volumes
            if (row.method, row.modality) == (method, modality) and metric in row.values
        ]

    def mean(
        self, metric: str, *, method: str = GENERATOR, modality: Modality = "mri"
    ) -> float | None:
        """Return the mean over volumes, each counting once; None if none has the metric."""
        values = self.of(metric, method=method, modality=modality)
        return float(np.mean(values)) if values else None

    def sd(
        self, metric: str, *, method: str = GENERATOR, modality: Modality = "mri"
    ) -> float | None:
        """Return the standard deviation over the volumes (population formula)."""
        values = self.of(metric, method=method, modality=modality)
        return float(np.std(values)) if values else None

    def interval(
        self, metric: str, *, method: str = GENERATOR, modality: Modality = "mri"
    ) -> Interval | None:
        """Return the 95 % bootstrap interval of the mean over subjects; None with fewer than
        three."""
        rows = [
            row
            for row in self.volumes
            if (row.method, row.modality) == (method, modality) and metric in row.values
        ]
        return mean_interval([row.values[metric] for row in rows], [row.subject for row in rows])

    def mean_heights(self, method: str = GENERATOR) -> list[float | None]:
        """Return the MAE by tenths of the height, averaged over volumes; empty without pairs."""
        profiles = [row.heights for row in self.volumes if row.method == method and row.heights]
        return [
            float(np.mean(known)) if known else None
            for tenth in zip(*profiles, strict=True)
            for known in [[value for value in tenth if value is not None]]
        ]

    def means_by_modality(self, metric: str) -> list[tuple[Modality, float]]:
        """Return the generator's mean for MRI and for CT volumes, if there are any."""
        means = [(modality, self.mean(metric, modality=modality)) for modality in MODALITIES]
        return [(modality, mean) for modality, mean in means if mean is not None]

    @property
    def methods(self) -> list[str]:
        """Return the scored methods: the generator, the other models, the baselines."""
        seen = {row.method for row in self.volumes} | set(self.populations)
        return [
            GENERATOR,
            *self.compared_models,
            *(method for method in BASELINES if method in seen),
        ]

    def compare(self, metric: str, other: str) -> Comparison | None:
        """Compare the generator with another model over the volumes where both have the metric;
        None if there are none, as for HD95 of CTs without bone."""
        values = {
            (row.method, row.volume): (row.values[metric], row.subject)
            for row in self.volumes
            if metric in row.values
        }
        volumes = [v for method, v in values if method == other and (GENERATOR, v) in values]
        if not volumes:
            return None
        return compare(
            [values[GENERATOR, volume][0] for volume in volumes],
            [values[other, volume][0] for volume in volumes],
            [values[other, volume][1] for volume in volumes],
        )

    @property
    def misaligned(self) -> dict[str, float]:
        """Return the pairs whose body outlines disagree, with their Dice."""
        return {volume: dice for volume, dice in self.alignments.items() if dice < ALIGNED}

    @property
    def unlike(self) -> dict[str, float]:
        """Return the pairs whose body outlines differ in volume so much that no registration could
        align them, with the higher Dice that one could reach."""
        limits = self._of_pairs("outline_dice_limit")
        return {volume: limit for volume, limit in limits.items() if limit < ALIGNED}

    @property
    def alignments(self) -> dict[str, float]:
        """Return the Dice of the body outlines of every pair."""
        return self._of_pairs("outline_dice")

    @property
    def partly_seen(self) -> dict[str, float]:
        """Return the pairs whose fields of view differ much, with the share seen by both scans."""
        shares = self._of_pairs("share_seen")
        return {volume: share for volume, share in shares.items() if share < MIN_SHARE_SEEN}

    @property
    def num_pairs(self) -> int:
        """Return the number of MRI volumes that were compared with a real CT."""
        return len(self.of("mae_hu"))

    @property
    def num_subjects(self) -> int:
        """Return the number of subjects whose MRI was compared with a real CT."""
        return len({row.subject for row in self.volumes if "mae_hu" in row.values})

    @property
    def cautions(self) -> list[str]:
        """Return why paired scores must not be quoted as the quality of the generator; empty if
        they may.

        The list has one sentence per reason, most severe first.
        """
        return list(_cautions(self)) if self.num_pairs else []

    def _of_pairs(self, value: str) -> dict[str, float]:
        return {row.volume: row.values[value] for row in self.volumes if value in row.values}


def _cautions(scores: Scores) -> Iterable[str]:
    if unlike := scores.unlike:
        listed = ", ".join(f"{name} (Dice {dice:.2f} at best)" for name, dice in unlike.items())
        yield (
            f"The body outlines of MRI and real CT differ in volume in {len(unlike)} of "
            f"{scores.num_pairs} pairs, which no registration corrects: {listed}. Look at them "
            "with `python -m data_prep describe STORE --picture odd.png`: a background that is not "
            "air, a face cut out of one scan, or another part of the body; convert a sound source "
            "again, or exclude these pairs."
        )
    misaligned = {v: dice for v, dice in scores.misaligned.items() if v not in unlike}
    if misaligned:
        listed = ", ".join(f"{name} (Dice {dice:.2f})" for name, dice in misaligned.items())
        remedy = (
            "Registration did not correct it."
            if scores.registrations
            else "Try --register rigid, or exclude these pairs."
        )
        yield (
            f"The body outlines of MRI and real CT disagree in {len(misaligned)} of "
            f"{scores.num_pairs} pairs, so their voxels do not show the same anatomy and their "
            f"scores reveal little about the generator: {listed}. {remedy}"
        )
    if partly_seen := scores.partly_seen:
        listed = ", ".join(f"{name} ({share:.0%})" for name, share in partly_seen.items())
        yield (
            f"In {len(partly_seen)} of {scores.num_pairs} pairs one scan shows much of the body "
            "that the other does not. Only voxels in both fields of view were compared, so the "
            "scores are of a part of the body (share in both fields of view in brackets): "
            f"{listed}."
        )
    if scores.num_subjects < FEWEST_SUBJECTS:
        yield (
            f"There are too few subjects ({scores.num_subjects}): no interval can be given, and "
            "scores of another patient may differ greatly."
        )
