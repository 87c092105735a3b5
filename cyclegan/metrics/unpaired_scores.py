"""Scores without pairs: similarity after a cycle, and comparison of CT populations."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.metrics.body_regions import (
    BodyMap,
    RegionHistograms,
    bone_region_mismatch,
    region_distance_hu,
    region_histograms,
)
from cyclegan.metrics.histogram import (
    NUM_HU,
    Counts,
    distance_hu,
    histogram_of,
    tissue_distances_hu,
)
from cyclegan.metrics.paired_scores import MAX_PSNR_DB
from cyclegan.metrics.ssim import slice_similarity
from cyclegan.metrics.texture import NUM_FEATURE_BINS, roughness_of, slice_features
from mrct.imaging.hounsfield import BONE_HU

DEPTH_BIN_MM = 2.0
NUM_DEPTHS = 50
"""Number of depth bins; the last one contains everything deeper than 98 mm."""


def cycle_scores(
    original: Float[Tensor, "Z 1 H W"], returned: Float[Tensor, "Z 1 H W"]
) -> dict[str, float]:
    """Return SSIM and PSNR between a volume's slices and the slices after a cycle.

    They are computed in fp32 with data range 2. SSIM is `ssim.slice_similarity`; PSNR is that of
    the volume's mean squared error, at most 100 dB.

    Args:
        original: Slices in [-1, 1]; H and W are at least 11.
        returned: The slices after the cycle, in [-1, 1].

    Returns:
        `cycle_ssim` and `cycle_psnr_db`.
    """
    # Imported only where needed: it takes a second, and every process of a run imports this module.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    x, y = returned.float().cpu(), original.float().cpu()
    ratio = peak_signal_noise_ratio(x, y, data_range=2.0)
    return {
        "cycle_ssim": slice_similarity(x[:, 0].numpy(), y[:, 0].numpy()),
        "cycle_psnr_db": min(float(ratio), MAX_PSNR_DB),
    }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CtStatistics:
    """Summary of a set of real or synthetic CTs: counts of voxels inside the body."""

    hu: Counts
    """[4096], voxels at each whole HU."""
    bone_depth: NDArray[np.int64]
    """[50], bone voxels (above 250 HU) by distance to the nearest voxel outside the body, in bins
    of 2 mm."""
    regions: RegionHistograms
    """The same HU by body region."""
    roughness: NDArray[np.float64]
    """[3], sums of absolute HU differences between neighbours along z and in plane, and the number
    of voxels summed over."""
    features: NDArray[np.float32]
    """[slices, 32], `slice_features` of every slice with enough body."""

    def __add__(self, other: "CtStatistics") -> "CtStatistics":
        return CtStatistics(
            hu=self.hu + other.hu,
            bone_depth=self.bone_depth + other.bone_depth,
            regions=self.regions + other.regions,
            roughness=self.roughness + other.roughness,
            features=np.concatenate([self.features, other.features]),
        )

    @property
    def bone_share(self) -> NDArray[np.float64]:
        """Bone at each depth as a share of the whole body, [50]."""
        share: NDArray[np.float64] = self.bone_depth / self.hu.sum()
        return share


def ct_statistics_of(
    hu: NDArray[Any],
    body: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    height: NDArray[np.float64] | None = None,
) -> CtStatistics:
    """Summarise one CT inside its body mask; values outside the window are clipped to it.

    Args:
        hu: CT in HU [z, y, x].
        body: Body mask [z, y, x], 0 or 1.
        spacing_mm: Voxel spacing (z, y, x), in mm.
        height: Height of each slice in the body, 0 to 1, [z]; by default that in the field of view.
    """
    return ct_statistics_in(hu, BodyMap.of(body, spacing_mm, height))


def ct_statistics_in(hu: NDArray[Any], body: BodyMap) -> CtStatistics:
    """Summarise one of several CTs [z, y, x] of a body; see `ct_statistics_of`."""
    values = hu[body.inside]
    bone = (body.depth_mm[values > BONE_HU] / DEPTH_BIN_MM).astype(np.int64)
    return CtStatistics(
        hu=histogram_of(values),
        bone_depth=np.bincount(bone.clip(max=NUM_DEPTHS - 1), minlength=NUM_DEPTHS),
        regions=region_histograms(values, body.regions),
        roughness=roughness_of(hu, body.inside),
        features=slice_features(hu, body.inside),
    )


def pool_statistics(populations: Iterable[CtStatistics]) -> CtStatistics:
    """Combine the summaries of several CTs; without any, all counts are 0."""
    empty = CtStatistics(
        hu=np.zeros(NUM_HU, np.int64),
        bone_depth=np.zeros(NUM_DEPTHS, np.int64),
        regions=RegionHistograms.nothing(),
        roughness=np.zeros(3),
        features=np.zeros((0, 2 * NUM_FEATURE_BINS), np.float32),
    )
    return sum(populations, start=empty)


def hu_distance(synthetic: CtStatistics, real: CtStatistics) -> float:
    """Return the Wasserstein-1 distance in HU of all values in the bodies (`distance_hu`)."""
    return distance_hu(synthetic.hu, real.hu)


def tissue_distances(synthetic: CtStatistics, real: CtStatistics) -> dict[str, float]:
    """Return the distance in HU within each tissue (`tissue_distances_hu`).

    Returns:
        `hu_distance_air`, `hu_distance_soft` and `hu_distance_bone`, without a tissue that one of
        the two lacks.
    """
    found = tissue_distances_hu(synthetic.hu, real.hu)
    return {f"hu_distance_{tissue}": distance for tissue, distance in found.items()}


def bone_depth_mismatch(synthetic: CtStatistics, real: CtStatistics) -> float:
    """Return the mismatch of bone depths: 0 equal, 1 nothing in common (or no bone).

    Bray-Curtis dissimilarity (1957) of the bone shares by depth: sum |s - r| / sum (s + r). Bone on
    the scalp (contrast lock-in) is at depths where real heads have none, so both the false and the
    missing bone count. For a skull at the right depth but too thick, the excess counts.
    It is also 0 if neither has bone.
    """
    ours, theirs = synthetic.bone_share, real.bone_share
    total = float((ours + theirs).sum())
    return float(np.abs(ours - theirs).sum() / total) if total else 0.0


def region_distances(synthetic: CtStatistics, real: CtStatistics) -> dict[str, float]:
    """Return the parts of the selection score: `hu_place_distance` and `bone_place_mismatch`.

    Unlike `hu_distance` and `bone_depth_mismatch`, they depend on the body region
    (`body_regions`): also on the height, and on the side of the body.
    """
    return {
        "hu_place_distance": region_distance_hu(synthetic.regions, real.regions),
        "bone_place_mismatch": bone_region_mismatch(synthetic.regions, real.regions),
    }
