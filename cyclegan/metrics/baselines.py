"""Baselines that a generator must beat: synthetic CTs without a network, in HU [z, y, x]."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.metrics.histogram import LOW_HU
from cyclegan.metrics.unpaired_scores import CtStatistics
from mrct.imaging.hounsfield import AIR_HU, SOFT_TISSUE_HU


def constant_soft_tissue(body: NDArray[Any]) -> NDArray[np.float32]:
    """Return 40 HU inside the body and -1024 outside: a low MAE without a single voxel of bone.

    Args:
        body: Body mask [z, y, x], 0 or 1.
    """
    return np.where(body, SOFT_TISSUE_HU, AIR_HU).astype(np.float32)


def match_histogram(
    mri: NDArray[Any], body: NDArray[Any], real: CtStatistics
) -> NDArray[np.float32]:
    """Return the MRI with the histogram of a CT population: the darkest voxel gets the lowest HU.

    Histogram specification inside the body (Gonzalez and Woods, section 3.3), -1024 HU outside.

    Args:
        mri: MRI [z, y, x].
        body: Body mask [z, y, x], 0 or 1.
        real: Summary of CTs of training subjects; the subject's own CT would leak the answer.
    """
    inside = body.astype(bool)
    _, ranks, counts = np.unique(mri[inside], return_inverse=True, return_counts=True)
    quantiles = np.cumsum(counts) / counts.sum()
    (seen,) = np.nonzero(real.hu)
    real_quantiles = np.cumsum(real.hu[seen]) / real.hu.sum()
    hu = np.full(mri.shape, AIR_HU, np.float32)
    hu[inside] = np.interp(quantiles, real_quantiles, seen + LOW_HU)[ranks]
    return hu


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IntensityRegression:
    """Mean HU at each MRI intensity inside the bodies of pairs, as sums that can be added.

    No function of a voxel's intensity alone has a smaller squared error on the pairs it is fitted
    on.
    """

    hu: NDArray[np.float64]
    """[256], sum of HU per bin of the normalised MRI."""
    count: NDArray[np.int64]
    """[256], number of voxels per bin."""

    def __add__(self, other: "IntensityRegression") -> "IntensityRegression":
        return IntensityRegression(hu=self.hu + other.hu, count=self.count + other.count)

    def predict(self, mri: NDArray[Any], body: NDArray[Any]) -> NDArray[np.float32]:
        """Return the fitted HU inside the body and -1024 outside.

        Bins without voxels are interpolated from their neighbours.

        Args:
            mri: MRI in [-1, 1], [z, y, x].
            body: Body mask [z, y, x], 0 or 1.
        """
        (seen,) = np.nonzero(self.count)
        fitted = np.interp(np.arange(_MRI_BINS), seen, self.hu[seen] / self.count[seen])
        return np.where(body, fitted[_bins_of(mri)], AIR_HU).astype(np.float32)


def regression_of(mri: NDArray[Any], real: NDArray[Any], body: NDArray[Any]) -> IntensityRegression:
    """Return the sums of one pair.

    Args:
        mri: MRI in [-1, 1], [z, y, x].
        real: Real CT in HU, [z, y, x].
        body: Mask of the voxels to fit, [z, y, x], 0 or 1.
    """
    inside = body.astype(bool)
    bins = _bins_of(mri)[inside]
    return IntensityRegression(
        hu=np.bincount(bins, real[inside], minlength=_MRI_BINS).astype(np.float64),
        count=np.bincount(bins, minlength=_MRI_BINS),
    )


_MRI_BINS = 256


def _bins_of(mri: NDArray[Any]) -> NDArray[np.intp]:
    return ((mri + 1) * (_MRI_BINS / 2)).astype(np.intp).clip(0, _MRI_BINS - 1)
