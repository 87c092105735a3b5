"""Atlas of the training CTs: the HU at each position, mean and median, without any MRI value.

What a synthetic CT must beat before its network has looked at anybody. The median has the smallest
mean absolute error of all values that depend on the position alone, so it is the fair baseline of
the MAE.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.atlas.positions import (
    NUM_POSITIONS,
    Positions,
    count_by_position,
    positions_of,
    shares_by_position,
)
from cyclegan.atlas.scans import Scan, train_scans
from cyclegan.errors import DataError
from cyclegan.nets.input_channels import PixelSize
from data_prep.store.store import Store
from mrct.imaging.hounsfield import AIR_HU, WINDOW_HU

ATLAS_BIN_HU = 8
NUM_ATLAS_BINS = int(WINDOW_HU[1] - WINDOW_HU[0] + 1) // ATLAS_BIN_HU
LOWEST_EDGE_HU = WINDOW_HU[0] - 0.5
"""Stored CTs are whole numbers, so a bin of 8 begins half a unit below its first."""
Statistics = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CtAtlas:
    """The HU of a set of CTs by position."""

    mean_hu: Statistics
    """[positions], the mean."""
    median_hu: Statistics
    """[positions], the median, interpolated within bins of 8 HU."""
    spacing_yx_mm: PixelSize
    """Size of a pixel, of the CTs and of the bodies that are asked for."""

    def mean(self, body: NDArray[Any], height: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the mean at each position of a body, -1024 HU outside, [z, y, x].

        Args:
            body: Body mask [z, y, x], 0 or 1.
            height: Height of each slice in the body, 0 to 1, [z].
        """
        return _paint(self.mean_hu, body, positions_of(body, height, self.spacing_yx_mm))

    def both(
        self, body: NDArray[Any], height: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the mean and the median at each position; see `mean`."""
        positions = positions_of(body, height, self.spacing_yx_mm)
        return (
            _paint(self.mean_hu, body, positions),
            _paint(self.median_hu, body, positions),
        )


def atlas_of(cts: Iterable[Scan]) -> CtAtlas:
    """Return the atlas of CTs in HU.

    Raises:
        ValueError: No CT has a body.
    """
    counts = np.zeros((NUM_POSITIONS, NUM_ATLAS_BINS), np.int64)
    for hu, body, height, spacing_yx_mm in cts:
        values = hu[body.astype(bool)].clip(*WINDOW_HU)
        bins = ((values - WINDOW_HU[0]) / ATLAS_BIN_HU).astype(np.intp)
        counts += count_by_position(positions_of(body, height, spacing_yx_mm), bins, NUM_ATLAS_BINS)
    if not counts.any():
        raise ValueError("No CT has a body, so there is nothing to make an atlas of.")
    share = shares_by_position(counts)
    middles = LOWEST_EDGE_HU + ATLAS_BIN_HU * (np.arange(NUM_ATLAS_BINS) + 0.5)
    return CtAtlas(
        mean_hu=(share @ middles).astype(np.float32),
        median_hu=_medians(share),
        spacing_yx_mm=spacing_yx_mm,
    )


@lru_cache(maxsize=2)
def train_atlas(store: Store) -> CtAtlas:
    """Return the atlas of the real CTs of the train split; the result is cached.

    Raises:
        DataError: The train split has no CT.
    """
    if not store.select("ct", "train"):
        raise DataError(
            f"The train split of {store.path} has no CT to make an atlas of. Convert again with CT "
            "volumes: python -m data_prep convert --ct DIR ..."
        )
    return atlas_of(train_scans(store, "ct"))


def _medians(share: NDArray[np.float32]) -> Statistics:
    """Return the median of each histogram [positions, bins], linear within its bin."""
    below = np.cumsum(share, axis=1, dtype=np.float64)
    rows, bins = np.arange(len(share)), (below < 0.5).sum(axis=1)
    part = (0.5 - (below[rows, bins] - share[rows, bins])) / share[rows, bins]
    medians: Statistics = (LOWEST_EDGE_HU + ATLAS_BIN_HU * (bins + part)).astype(np.float32)
    return medians


def _paint(values: Statistics, body: NDArray[Any], positions: Positions) -> NDArray[np.float32]:
    hu = np.full(body.shape, AIR_HU, np.float32)
    hu[body.astype(bool)] = values[positions]
    return hu
