"""How far a synthetic CT is from the real CT of the same anatomy, over the body.

Definitions of the SynthRAD challenges (evaluation code of 2025; the single-scale SSIM is that of
2023 with the range of 2025). Arrays are HU [z, y, x]; `body` is the mask, 0 or 1, of the same
shape; what lies outside it never counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from data_prep.intensity import WINDOW_HU

BONE_HU = 250.0
"""Above this a voxel is bone: between contrast-free soft tissue and spongy bone."""
MAX_PSNR_DB = 100.0
"""What identical images are given in place of infinity, so that means and JSON stay finite."""

HU = NDArray[Any]
Mask = NDArray[Any]

_SSIM_WINDOW = 7
_RANGE_HU = WINDOW_HU[1] - WINDOW_HU[0]


def mae_hu(synthetic: HU, real: HU, body: Mask) -> float:
    """Mean absolute error in HU over the body, not clipped (SynthRAD2025)."""
    inside = body.astype(bool)
    return float(np.abs(synthetic[inside] - real[inside].astype(np.float64)).mean())


def psnr_db(synthetic: HU, real: HU, body: Mask) -> float:
    """Peak signal-to-noise ratio in dB over the body (SynthRAD2025).

    Both are clipped to [-1024, 3071] HU; the peak is 4095 HU. At most 100 dB.
    """
    inside = body.astype(bool)
    error = synthetic[inside].astype(np.float64).clip(*WINDOW_HU) - real[inside].clip(*WINDOW_HU)
    # The floor is the squared error at which MAX_PSNR_DB is reached.
    square = max(float(np.mean(error**2)), _RANGE_HU**2 / 10 ** (MAX_PSNR_DB / 10))
    return float(10 * np.log10(_RANGE_HU**2 / square))


def ssim(synthetic: HU, real: HU, body: Mask) -> float:
    """Structural similarity, averaged over the body (SynthRAD2023, range of 2025).

    Wang 2004, eq. 13, with 7^3 uniform windows, sample covariance, K1 .01 and K2 .03. Both images
    are clipped to [-1024, 3071] HU, set to -1024 outside the body and shifted to start at 0. The
    map's outer 3 voxels, whose windows leave the volume, do not count; along an axis of fewer than
    7 voxels, where nothing would be left, they do.
    """
    inside = body.astype(bool)
    # Air is 0 after the shift.
    x, y = (
        np.where(inside, image.astype(np.float64).clip(*WINDOW_HU) - WINDOW_HU[0], 0.0)
        for image in (synthetic, real)
    )
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    voxels = _SSIM_WINDOW**3
    unbiased = voxels / (voxels - 1)
    variance_x = unbiased * (_window_mean(x * x) - mean_x**2)
    variance_y = unbiased * (_window_mean(y * y) - mean_y**2)
    covariance = unbiased * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * _RANGE_HU) ** 2, (0.03 * _RANGE_HU) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    margin = _SSIM_WINDOW // 2
    inner = tuple(
        slice(margin, size - margin) if size >= _SSIM_WINDOW else slice(None) for size in x.shape
    )
    return float(similarity[inner][inside[inner]].mean())


def bone_dice(synthetic: HU, real: HU, body: Mask) -> float:
    """Dice overlap of what exceeds 250 HU in the body: 2 |S and R| / (|S| + |R|) (Dice 1945).

    1 where neither has bone.
    """
    inside = body.astype(bool)
    ours, theirs = synthetic[inside] > BONE_HU, real[inside] > BONE_HU
    total = int(ours.sum() + theirs.sum())
    return float(2 * (ours & theirs).sum() / total) if total else 1.0


def paired_scores(synthetic: HU, real: HU, body: Mask) -> dict[str, float]:
    """All of the above, by name. `body` is the real CT's: a wrong body outline is an error too."""
    return {
        "mae_hu": mae_hu(synthetic, real, body),
        "psnr_db": psnr_db(synthetic, real, body),
        "ssim": ssim(synthetic, real, body),
        "bone_dice": bone_dice(synthetic, real, body),
    }


def _window_mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = uniform_filter(image, _SSIM_WINDOW)
    return mean
