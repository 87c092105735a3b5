"""What can be told of a translator without pairs: what comes back from a cycle, and whether the
synthetic CTs, as a population, look like the real ones. Which volumes those are is unknown here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from cyclegan.metrics.body_regions import (
    PlacedHu,
    bone_place_mismatch,
    place_distance_hu,
    placed_hu,
    places_of,
)
from cyclegan.metrics.histogram import (
    NUM_HU,
    Counts,
    distance_hu,
    histogram_of,
    tissue_distances_hu,
)
from cyclegan.metrics.paired_scores import MAX_PSNR_DB
from cyclegan.metrics.texture import NUM_FEATURE_BINS, roughness_of, slice_features
from mrct.imaging.hounsfield import BONE_HU

SLICES_AT_ONCE = 8
"""SSIM makes eleven copies of what it is given: of a whole volume they would be gigabytes."""
DEPTH_BIN_MM = 2.0
NUM_DEPTHS = 50
"""The last bin holds everything deeper than 98 mm."""


def cycle_scores(
    original: Float[Tensor, "Z 1 H W"], returned: Float[Tensor, "Z 1 H W"]
) -> dict[str, float]:
    """SSIM and PSNR between a volume's slices and what a cycle made of them; images in [-1, 1].

    Data range 2, in fp32. SSIM is Wang 2004's (11 x 11 Gaussian of 1.5 pixels) averaged over all
    pixels and slices; PSNR is that of the volume's mean squared error, at most 100 dB.
    """
    with torch.autocast(original.device.type, enabled=False):
        x, y = returned.float(), original.float()
        similarity = torch.cat(
            [
                structural_similarity_index_measure(*some, data_range=2.0, reduction="none")
                for some in zip(x.split(SLICES_AT_ONCE), y.split(SLICES_AT_ONCE), strict=True)
            ]
        ).mean()
        ratio = peak_signal_noise_ratio(x, y, data_range=2.0)
    return {
        "cycle_ssim": float(similarity),
        "cycle_psnr_db": min(float(ratio), MAX_PSNR_DB),
    }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Population:
    """Real or synthetic CTs in summary: counts of voxels inside the body."""

    hu: Counts
    bone_depth: NDArray[np.int64]
    """[50], bone (above 250 HU) by distance to the nearest voxel outside the body, 2 mm a bin."""
    placed: PlacedHu
    """The same HU by where in the body they lie."""
    roughness: NDArray[np.float64]
    """[3], sums of absolute HU differences between neighbours along z, of those in plane, and how
    many voxels they are of."""
    features: NDArray[np.float32]
    """[slices, 32], `slice_features` of every slice that shows enough body."""

    def __add__(self, other: "Population") -> "Population":
        return Population(
            hu=self.hu + other.hu,
            bone_depth=self.bone_depth + other.bone_depth,
            placed=self.placed + other.placed,
            roughness=self.roughness + other.roughness,
            features=np.concatenate([self.features, other.features]),
        )

    @property
    def bone_share(self) -> NDArray[np.float64]:
        """[50], bone at each depth as a share of the whole body."""
        share: NDArray[np.float64] = self.bone_depth / self.hu.sum()
        return share


def population_of(
    hu: NDArray[Any], body: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> Population:
    """The summary of one CT [z, y, x] inside its body mask; values beyond the window are clipped.

    Where the field of view cuts through the body there is no surface, so no depth counts from it.
    """
    inside = body.astype(bool)
    depth_mm = distance_transform_edt(inside, sampling=spacing_mm)[inside]
    bone = (depth_mm[hu[inside] > BONE_HU] / DEPTH_BIN_MM).astype(np.int64)
    return Population(
        hu=histogram_of(hu[inside]),
        bone_depth=np.bincount(bone.clip(max=NUM_DEPTHS - 1), minlength=NUM_DEPTHS),
        placed=placed_hu(hu[inside], places_of(inside, depth_mm, spacing_mm)),
        roughness=roughness_of(hu, inside),
        features=slice_features(hu, inside),
    )


def pooled(populations: Iterable[Population]) -> Population:
    """All voxels of several CTs together."""
    empty = Population(
        hu=np.zeros(NUM_HU, np.int64),
        bone_depth=np.zeros(NUM_DEPTHS, np.int64),
        placed=PlacedHu.nothing(),
        roughness=np.zeros(3),
        features=np.zeros((0, 2 * NUM_FEATURE_BINS), np.float32),
    )
    return sum(populations, start=empty)


def hu_distance(synthetic: Population, real: Population) -> float:
    """Wasserstein-1 distance in HU of all values inside the bodies (`histogram.distance_hu`)."""
    return distance_hu(synthetic.hu, real.hu)


def tissue_distances(synthetic: Population, real: Population) -> dict[str, float]:
    """The same within each tissue: `hu_distance_air`, `hu_distance_soft`, `hu_distance_bone`."""
    found = tissue_distances_hu(synthetic.hu, real.hu)
    return {f"hu_distance_{tissue}": distance for tissue, distance in found.items()}


def bone_depth_mismatch(synthetic: Population, real: Population) -> float:
    """How differently bone lies below the surface: 0 equal, 1 nothing in common (or no bone).

    Bray and Curtis 1957 between the bone shares by depth: sum |s - r| / sum (s + r). Bone painted
    on the scalp (contrast lock-in) lies where real heads have none, and both the false and the
    missing bone count. A skull of the right depth but too thick counts for its excess.
    """
    ours, theirs = synthetic.bone_share, real.bone_share
    total = float((ours + theirs).sum())
    return float(np.abs(ours - theirs).sum() / total) if total else 0.0


def place_distances(synthetic: Population, real: Population) -> dict[str, float]:
    """What the selection score is made of (`places`): `hu_place_distance`, `bone_place_mismatch`.

    Unlike `hu_distance` and `bone_depth_mismatch` they ask for the height and the side of the head
    too.
    """
    return {
        "hu_place_distance": place_distance_hu(synthetic.placed, real.placed),
        "bone_place_mismatch": bone_place_mismatch(synthetic.placed, real.placed),
    }
