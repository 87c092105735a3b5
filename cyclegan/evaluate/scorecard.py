"""What an evaluation found: scores by volume and method. How they are computed is unknown here."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cyclegan.infer.cycle import Cycle
from cyclegan.scores.intervals import Interval, mean_interval
from cyclegan.scores.metrics import ProtocolName
from cyclegan.scores.significance import Comparison, compare
from data_prep.split import Split
from data_prep.volume import Modality

TRANSLATOR = "CycleGAN"
SOFT_TISSUE = "constant soft tissue"
HISTOGRAM = "histogram matching"
REGRESSION = "intensity regression"
BASELINES = (REGRESSION, HISTOGRAM, SOFT_TISSUE)
ALIGNED = 0.9
"""Dice of a pair's body outlines below which its voxels cannot be compared one by one."""
MODALITIES: tuple[Modality, ...] = ("mri", "ct")
PAIRED = ("mae_hu", "psnr_db", "ssim", "ms_ssim", "bone_dice")
DETAIL = ("mae_air_hu", "mae_soft_hu", "mae_bone_hu", "bias_hu", "bone_hd95_mm")
"""Paired scores that say where the error is."""
CYCLE = ("cycle_ssim", "cycle_psnr_db")
UNPAIRED = ("edge_agreement", "shape_dice")
"""Of one synthetic CT and its own MRI."""
POPULATION = ("hu_distance", "bone_depth_mismatch", "roughness_ratio", "kernel_distance")


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeScores:
    """One volume by one method."""

    volume: str
    subject: str
    """The subject's pseudonym."""
    modality: Modality
    method: str
    values: dict[str, float]
    """By name: `PAIRED`, `DETAIL` for an MRI with a real CT beside, `UNPAIRED` for any synthetic CT
    of a network, `CYCLE` for the translator, and for its pairs `outline_dice`: how well the
    bodies of MRI and CT agree."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shown:
    """A volume as pictures need it."""

    cycle: Cycle
    real: NDArray[np.int16] | None
    """HU [z, y, x] of the CT of the same anatomy, where there is one."""
    mae_hu: float | None
    """The translator's error against it."""
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """All that an evaluation found."""

    split: Split
    volumes: tuple[VolumeScores, ...]
    protocol: ProtocolName = "synthrad2025"
    rivals: tuple[str, ...] = ()
    """Other runs and models, as methods."""
    populations: dict[str, dict[str, float]] = field(default_factory=dict)
    """By method: `POPULATION`, all its synthetic CTs against the train split's CTs, and `selection`
    for the translator. Empty where the store has no such CT."""
    shown: tuple[Shown, ...] = field(default=(), repr=False)
    failed: tuple[str, ...] = ()
    """What was wrong with each volume that could not be read."""

    def of(
        self, metric: str, *, method: str = TRANSLATOR, modality: Modality = "mri"
    ) -> list[float]:
        """A metric's value for every volume that has it."""
        return [
            row.values[metric]
            for row in self.volumes
            if (row.method, row.modality) == (method, modality) and metric in row.values
        ]

    def mean(
        self, metric: str, *, method: str = TRANSLATOR, modality: Modality = "mri"
    ) -> float | None:
        """The mean over volumes, each volume counting once; None where none has the metric."""
        values = self.of(metric, method=method, modality=modality)
        return float(np.mean(values)) if values else None

    def sd(
        self, metric: str, *, method: str = TRANSLATOR, modality: Modality = "mri"
    ) -> float | None:
        """The standard deviation over volumes (of these, not an estimate for others)."""
        values = self.of(metric, method=method, modality=modality)
        return float(np.std(values)) if values else None

    def interval(
        self, metric: str, *, method: str = TRANSLATOR, modality: Modality = "mri"
    ) -> Interval | None:
        """The 95 % bootstrap interval of the mean over subjects; None with fewer than three."""
        rows = [
            row
            for row in self.volumes
            if (row.method, row.modality) == (method, modality) and metric in row.values
        ]
        return mean_interval([row.values[metric] for row in rows], [row.subject for row in rows])

    def means_by_modality(self, metric: str) -> list[tuple[Modality, float]]:
        """The translator's mean for MRI and for CT volumes, where there are any."""
        means = [(modality, self.mean(metric, modality=modality)) for modality in MODALITIES]
        return [(modality, mean) for modality, mean in means if mean is not None]

    @property
    def methods(self) -> list[str]:
        """Those that were scored: the translator, what it was compared with, the baselines."""
        seen = {row.method for row in self.volumes} | set(self.populations)
        return [
            TRANSLATOR,
            *self.rivals,
            *(method for method in BASELINES if method in seen),
        ]

    def compare(self, metric: str, rival: str) -> Comparison:
        """The translator's scores against a rival's, over the volumes that both have."""
        values = {
            (row.method, row.volume): (row.values[metric], row.subject)
            for row in self.volumes
            if metric in row.values
        }
        volumes = [v for method, v in values if method == rival and (TRANSLATOR, v) in values]
        return compare(
            [values[TRANSLATOR, volume][0] for volume in volumes],
            [values[rival, volume][0] for volume in volumes],
            [values[rival, volume][1] for volume in volumes],
        )

    @property
    def misaligned(self) -> dict[str, float]:
        """Pairs whose body outlines disagree, with their Dice: their scores mean little."""
        found = {
            row.volume: row.values["outline_dice"]
            for row in self.volumes
            if "outline_dice" in row.values
        }
        return {volume: value for volume, value in found.items() if value < ALIGNED}

    @property
    def num_pairs(self) -> int:
        """MRI volumes that were compared with a real CT."""
        return len(self.of("mae_hu"))
