"""What an evaluation found: scores by volume and method. How they are computed is unknown here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cyclegan.evaluate.paired_ct import Registration
from cyclegan.evaluate.segmenter import StructureScores
from cyclegan.inference.cycle import Cycle
from cyclegan.metrics.protocol import ProtocolName
from cyclegan.metrics.statistics import Comparison, Interval, compare, mean_interval
from data_prep.datasets.split import Split
from mrct.imaging.volume import MODALITIES, Modality

TRANSLATOR = "CycleGAN"
SOFT_TISSUE = "constant soft tissue"
HISTOGRAM = "histogram matching"
REGRESSION = "intensity regression"
BASELINES = (REGRESSION, HISTOGRAM, SOFT_TISSUE)
ALIGNED = 0.9
"""Dice of a pair's body outlines below which its voxels cannot be compared one by one."""
MOSTLY_SEEN = 0.9
"""Share of a pair's bodies below which the other scan's field of view is called partial."""
FEWEST_SUBJECTS = 3
"""Below this a mean says nothing of other people."""
PAIRED = ("mae_hu", "psnr_db", "ssim", "ms_ssim", "bone_dice")
DETAIL = (
    "mae_air_hu",
    "mae_soft_hu",
    "mae_bone_hu",
    "bias_hu",
    "histogram_hu",
    "bone_hd95_mm",
)
"""Paired scores that say where the error is."""
CYCLE = ("cycle_ssim", "cycle_psnr_db")
UNPAIRED = ("edge_agreement", "shape_dice")
"""Of one synthetic CT and its own MRI."""
POPULATION = (
    "hu_distance",
    "hu_distance_air",
    "hu_distance_soft",
    "hu_distance_bone",
    "hu_place_distance",
    "bone_depth_mismatch",
    "bone_place_mismatch",
    "roughness_ratio",
    "kernel_distance",
)
ALIGNMENT = ("outline_dice", "share_seen")
"""Of a pair's two scans, whatever the translator."""
GridName = Literal["store", "source CT"]


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
    of a network, `CYCLE` for the translator, and for its pairs `ALIGNMENT`: how well the bodies of
    MRI and CT agree, and how much of them both scans saw."""
    heights: tuple[float | None, ...] = ()
    """MAE in HU by tenths of the compared slices, from the lowest up, for an MRI with a real CT."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shown:
    """A volume as pictures need it."""

    cycle: Cycle
    real: NDArray[np.int16] | NDArray[np.float32] | None
    """HU [z, y, x] of the CT of the same anatomy on the store's grid, where there is one."""
    compared: NDArray[np.bool_] | None
    """Where it is compared."""
    mae_hu: float | None
    """The translator's error against it."""
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """All that an evaluation found."""

    split: Split
    volumes: tuple[VolumeScores, ...]
    protocol: ProtocolName = "synthrad2025"
    grid: GridName = "store"
    """Where paired scores were taken; all others are on the store's."""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """(z, y, x) of the store's voxels."""
    rivals: tuple[str, ...] = ()
    """Other runs and models, as methods."""
    registrations: dict[str, Registration] | None = None
    """By MRI volume, what was done to its real CT; None where pairs were taken as they are."""
    segmenter: str = ""
    """The command that `structures` come from."""
    structures: tuple[StructureScores, ...] = ()
    populations: dict[str, dict[str, float]] = field(default_factory=dict)
    """By method: `POPULATION`, all its synthetic CTs against the train split's CTs, and `selection`
    for the translator. Empty where the store has no such CT."""
    shown: tuple[Shown, ...] = field(default=(), repr=False)
    failed: tuple[str, ...] = ()
    """What was wrong with each volume that could not be read or scored."""

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

    def mean_heights(self, method: str = TRANSLATOR) -> list[float | None]:
        """The MAE by tenths of the height, a mean over volumes; empty without pairs."""
        profiles = [row.heights for row in self.volumes if row.method == method and row.heights]
        return [
            float(np.mean(known)) if known else None
            for tenth in zip(*profiles, strict=True)
            for known in [[value for value in tenth if value is not None]]
        ]

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

    def compare(self, metric: str, rival: str) -> Comparison | None:
        """The translator's scores against a rival's, over the volumes where both have one; None
        where there is none, as of HD95 for a CT without bone."""
        values = {
            (row.method, row.volume): (row.values[metric], row.subject)
            for row in self.volumes
            if metric in row.values
        }
        volumes = [v for method, v in values if method == rival and (TRANSLATOR, v) in values]
        if not volumes:
            return None
        return compare(
            [values[TRANSLATOR, volume][0] for volume in volumes],
            [values[rival, volume][0] for volume in volumes],
            [values[rival, volume][1] for volume in volumes],
        )

    @property
    def misaligned(self) -> dict[str, float]:
        """Pairs whose body outlines disagree, with their Dice: their scores mean little."""
        return {volume: dice for volume, dice in self.alignments.items() if dice < ALIGNED}

    @property
    def alignments(self) -> dict[str, float]:
        """Of every pair, the Dice of its body outlines."""
        return self._of_pairs("outline_dice")

    @property
    def partly_seen(self) -> dict[str, float]:
        """Pairs of which one scan shows much that the other does not, with the share seen."""
        shares = self._of_pairs("share_seen")
        return {volume: share for volume, share in shares.items() if share < MOSTLY_SEEN}

    @property
    def num_pairs(self) -> int:
        """MRI volumes that were compared with a real CT."""
        return len(self.of("mae_hu"))

    @property
    def num_subjects(self) -> int:
        """People whose MRI was compared with a real CT."""
        return len({row.subject for row in self.volumes if "mae_hu" in row.values})

    @property
    def cautions(self) -> list[str]:
        """Why paired figures must not be quoted as the translator's quality; empty where they may.

        Sentences, the gravest first.
        """
        return list(_cautions(self)) if self.num_pairs else []

    def _of_pairs(self, value: str) -> dict[str, float]:
        return {row.volume: row.values[value] for row in self.volumes if value in row.values}


def _cautions(scores: Scores) -> Iterable[str]:
    if misaligned := scores.misaligned:
        listed = ", ".join(f"{name} (Dice {dice:.2f})" for name, dice in misaligned.items())
        remedy = (
            "Registration did not mend it."
            if scores.registrations
            else "Try --register rigid, or leave them out."
        )
        yield (
            f"The body outlines of MRI and real CT disagree in {len(misaligned)} of "
            f"{scores.num_pairs} pairs, so their voxels do not show the same place and their "
            f"scores say little of the translator: {listed}. {remedy}"
        )
    if partly_seen := scores.partly_seen:
        listed = ", ".join(f"{name} ({share:.0%})" for name, share in partly_seen.items())
        yield (
            f"In {len(partly_seen)} of {scores.num_pairs} pairs one scan shows much of the body "
            "that the other does not. Only voxels that both saw were compared, so the figures are "
            f"of a part of the body (the share that both saw in brackets): {listed}."
        )
    if scores.num_subjects < FEWEST_SUBJECTS:
        yield (
            f"There are too few subjects ({scores.num_subjects}): no interval can be given, and "
            "another patient may well score very differently."
        )
