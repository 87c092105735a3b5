"""Distribution of HU by body region, so that CTs of different people can be compared.

A region is a depth below the surface, a height in the body, and a direction from the middle of the
slice: enough to separate scalp from skull and face from neck without registration. Arrays are
[z, y, x], with rows from front to back.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cyclegan.metrics.histogram import LOW_HU
from data_prep.preprocess.height_axis import IN_EACH_FIELD_OF_VIEW, outline_of
from mrct.imaging.body_mask import bounding_box
from mrct.imaging.hounsfield import BONE_HU, WINDOW_HU

DEPTH_EDGES_MM = np.array([3.0, 6, 9, 12, 16, 20, 25, 30, 40, 55])
"""Limits of the depths, finer at the surface, where fat, bone and brain are millimetres apart."""
NUM_HEIGHTS = 8
"""Equal parts of the height."""
NUM_ANGLES = 6
"""Equal parts of the half circle from the front to the back; left and right are merged."""
NUM_REGIONS = (len(DEPTH_EDGES_MM) + 1) * NUM_HEIGHTS * NUM_ANGLES
BIN_HU = 32
NUM_BINS = 128
Regions = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RegionHistograms:
    """Voxels inside bodies by region, as counts that can be added."""

    hu: NDArray[np.int64]
    """[528, 128], voxels by region and bin of 32 HU."""
    bone: NDArray[np.int64]
    """[528], voxels above 250 HU by region."""

    def __add__(self, other: "RegionHistograms") -> "RegionHistograms":
        return RegionHistograms(hu=self.hu + other.hu, bone=self.bone + other.bone)

    def all_of(self, hu: float) -> "RegionHistograms":
        """Return counts with as many voxels in the same regions, all of one value.

        Args:
            hu: The value, within WINDOW_HU.
        """
        counts = np.zeros_like(self.hu)
        counts[:, int((hu - LOW_HU) / BIN_HU)] = self.hu.sum(axis=1)
        bone = self.hu.sum(axis=1) if hu > BONE_HU else np.zeros_like(self.bone)
        return RegionHistograms(hu=counts, bone=bone)

    @classmethod
    def nothing(cls) -> "RegionHistograms":
        """Return counts of no voxel."""
        shape = (NUM_REGIONS, NUM_BINS)
        return cls(hu=np.zeros(shape, np.int64), bone=np.zeros(NUM_REGIONS, np.int64))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BodyMap:
    """Where the voxels of a body lie; the same for all CTs of that body."""

    inside: NDArray[np.bool_]
    """Body mask [z, y, x]."""
    depth_mm: NDArray[np.float64]
    """[voxels], distance to the nearest voxel outside, in the order of the true voxels."""
    regions: Regions
    """[voxels], region of each, in [0, NUM_REGIONS)."""

    @classmethod
    def of(
        cls,
        body: NDArray[Any],
        spacing_mm: tuple[float, float, float],
        height: NDArray[np.float64] | None = None,
    ) -> "BodyMap":
        """Locate the voxels of a body mask.

        A border of the field of view that cuts the body is no surface for depths.

        Args:
            body: Body mask [z, y, x], 0 or 1.
            spacing_mm: Voxel spacing (z, y, x), in mm.
            height: Height of each slice in the body, 0 to 1, [z]; by default that in the field of
                view.
        """
        inside = body.astype(bool, copy=False)
        if height is None:
            placement = IN_EACH_FIELD_OF_VIEW.place(outline_of(inside), spacing_mm)
            height = placement.heights(len(inside))
        # The nearest voxel outside touches the body's box, which is half of a head's volume.
        box = bounding_box(inside, (1, 1, 1)) or (slice(None),) * 3
        depth_mm = depths_of(inside[box], spacing_mm)
        regions = regions_of(inside[box], depth_mm, spacing_mm, height[box[0]])
        return cls(inside=inside, depth_mm=depth_mm, regions=regions)


def depths_of(
    inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the distance in mm of each voxel inside from the nearest one outside, [voxels].

    scipy's own distances, which it also computes outside, take half as long again.
    """
    nearest = distance_transform_edt(
        inside, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    y, x = np.ogrid[tuple(map(slice, inside.shape[1:]))]
    squares = [  # slice by slice, in the processor's cache
        sum(
            ((there[z] - here) * mm) ** 2
            for there, here, mm in zip(nearest, (z, y, x), spacing_mm, strict=True)
        )[mask]
        for z, mask in enumerate(inside)
    ]
    depth_mm: NDArray[np.float64] = np.sqrt(np.concatenate(squares))
    return depth_mm


def regions_of(
    inside: NDArray[np.bool_],
    depth_mm: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    height: NDArray[np.float64],
) -> Regions:
    """Return the region of each body voxel, in [0, NUM_REGIONS).

    Args:
        inside: Body mask [z, y, x].
        depth_mm: Distance of each body voxel from the surface, in the order of the true voxels of
            `inside`.
        spacing_mm: Voxel spacing (z, y, x), in mm.
        height: Height of each slice in the body, 0 to 1, [z].

    Returns:
        [voxels], in the order of `depth_mm`.
    """
    _, dy, dx = spacing_mm
    rows, columns = inside.sum(axis=2), inside.sum(axis=1)  # [z, y], [z, x]
    y, x = np.arange(inside.shape[1]), np.arange(inside.shape[2])
    voxels = np.maximum(rows.sum(axis=1), 1)
    forwards = ((rows @ y / voxels)[:, None] - y) * dy  # [z, y], distances from the middle in mm
    aside = np.abs(x - (columns @ x / voxels)[:, None]) * dx  # [z, x]
    part = np.clip(height * NUM_HEIGHTS, 0, NUM_HEIGHTS - 1).astype(np.uint8)
    # An angle is counted by the directions that it is beyond.
    place = np.broadcast_to((part * NUM_ANGLES)[:, None, None], inside.shape).copy()
    for limit in np.arange(1, NUM_ANGLES) * np.pi / NUM_ANGLES:
        place += (np.cos(limit) * aside)[:, None] > (np.sin(limit) * forwards)[:, :, None]
    region: Regions = np.digitize(depth_mm, DEPTH_EDGES_MM)
    region *= NUM_HEIGHTS * NUM_ANGLES
    region += place[inside]
    return region


def region_histograms(values: NDArray[Any], regions: Regions) -> RegionHistograms:
    """Count the HU of body voxels by region; values outside the window are clipped to it.

    Args:
        values: [voxels], HU.
        regions: [voxels], region of each, as from `regions_of`.
    """
    bins = ((values.clip(*WINDOW_HU) - LOW_HU) / BIN_HU).astype(np.intp)
    counts = np.bincount(regions * NUM_BINS + bins, minlength=NUM_REGIONS * NUM_BINS)
    return RegionHistograms(
        hu=counts.reshape(NUM_REGIONS, NUM_BINS),
        bone=np.bincount(regions[values > BONE_HU], minlength=NUM_REGIONS),
    )


def region_distance_hu(ours: RegionHistograms, theirs: RegionHistograms) -> float:
    """Return the Wasserstein-1 distance in HU per region, averaged over the voxels of `ours`.

    0 if every region has the same values in both; a head with the right values, but fat in place of
    bone, has a large distance. Regions without voxels in one of the two do not count.

    Args:
        ours: Counts of synthetic CTs.
        theirs: Counts of real CTs.
    """
    weights = _shares(ours, theirs)
    shares = (p.hu / np.maximum(p.hu.sum(axis=1, keepdims=True), 1) for p in (ours, theirs))
    difference = np.abs(np.subtract(*(np.cumsum(share, axis=1) for share in shares)))
    return float(BIN_HU * (difference.sum(axis=1) * weights).sum())


def bone_region_mismatch(ours: RegionHistograms, theirs: RegionHistograms) -> float:
    """Return the mismatch of bone over the regions: 0 equal, 1 nothing in common (or no bone).

    Bray-Curtis dissimilarity (1957) of the shares of bone per region, weighted by the voxels of
    `ours` there. It is also 0 if neither has bone.

    Args:
        ours: Counts of synthetic CTs.
        theirs: Counts of real CTs.
    """
    weights = _shares(ours, theirs)
    a, b = (p.bone / np.maximum(p.hu.sum(axis=1), 1) * weights for p in (ours, theirs))
    total = float((a + b).sum())
    return float(np.abs(a - b).sum() / total) if total else 0.0


def _shares(ours: RegionHistograms, theirs: RegionHistograms) -> NDArray[np.float64]:
    """Return the voxels of `ours` in each region that both have, as shares of 1, [528]."""
    voxels = np.where(theirs.hu.any(axis=1), ours.hu.sum(axis=1), 0)
    shares: NDArray[np.float64] = voxels / max(1, int(voxels.sum()))
    return shares
