"""Structural similarity of two CTs inside the body, as defined by the SynthRAD challenges.

Arrays are [z, y, x], float64, non-negative (HU shifted by the window's low end) and 0 outside the
body. `range_hu` is the width of the window.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from mrct.imaging.body_mask import bounding_box

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang, Simoncelli and Bovik 2003, section 3.2, finest scale first."""
SMALLEST_MULTISCALE = 97
"""Smallest size of an axis, in voxels, for five scales of 7^3 windows."""
_WINDOW = 7
_MARGIN = _WINDOW // 2


class Moments(NamedTuple):
    """Means, variances and covariance in the 7^3 window around each voxel."""

    mean_x: Image
    mean_y: Image
    variance_x: Image
    variance_y: Image
    covariance: Image


def similarity(x: Image, y: Image, body: Mask, range_hu: float) -> float:
    """Return the structural similarity, averaged over the body (SynthRAD2023; 2025 with its range).

    Wang 2004, eq. 13, with 7^3 uniform windows, sample covariance, K1 .01 and K2 .03. The outer 3
    voxels of the volume, whose windows extend beyond it, do not count, except along an axis of
    fewer than 7 voxels, and for a body that lies entirely within them.

    Args:
        x: One CT [z, y, x], shifted to start at 0.
        y: The other CT.
        body: Body mask [z, y, x], with at least one voxel of body.
        range_hu: Dynamic range, the width of the window in HU.

    Examples:
        >>> ct = np.arange(1000.0).reshape(10, 10, 10)
        >>> body = ct > 0
        >>> similarity(ct, ct, body, range_hu=4095)
        1.0
    """
    c1, c2 = (0.01 * range_hu) ** 2, (0.03 * range_hu) ** 2
    box, counted = counted_box(body)
    m = moments(x[box], y[box])
    numerator = (2 * m.mean_x * m.mean_y + c1) * (2 * m.covariance + c2)
    denominator = (m.mean_x**2 + m.mean_y**2 + c1) * (m.variance_x + m.variance_y + c2)
    return float((numerator / denominator)[counted].mean())


def multiscale_similarity(x: Image, y: Image, body: Mask, range_hu: float) -> float | None:
    """Return the masked similarity over five scales (SynthRAD2025, commit 17cac47), in [0, 1].

    Luminance, contrast and structure, each clipped at 0, are raised to the scale's weight and
    multiplied voxel by voxel; the maps' means over the body are clipped to [0, 1] and multiplied.
    Unlike Wang 2003, the luminance counts at every scale, so this is not torchmetrics' MS-SSIM.
    Volumes are first padded with their edge values to 97 voxels along each axis.

    Args:
        x: One CT [z, y, x], shifted to start at 0.
        y: The other CT.
        body: Body mask [z, y, x].
        range_hu: Dynamic range, the width of the window in HU.

    Returns:
        The similarity; None if a scale has no voxel of the body, because each scale drops every
        other voxel and a thin body may vanish.
    """
    padding = [padding_of(size) for size in x.shape]
    x, y = np.pad(x, padding, mode="edge"), np.pad(y, padding, mode="edge")
    body = np.pad(body, padding, mode="edge")
    product = 1.0
    for weight in SCALE_WEIGHTS:
        if not body.any():
            return None
        box, counted = counted_box(body)
        mean = float((components(x[box], y[box], range_hu)[counted] ** weight).mean())
        product *= min(1.0, max(0.0, mean))
        x, y, body = downsample(x), downsample(y), body[::2, ::2, ::2]
    return product


def components(x: Image, y: Image, range_hu: float) -> Image:
    """Return the product of luminance, contrast and structure, each clipped at 0.

    Wang 2004, eq. 6, 9 and 10, at each voxel.
    """
    c1, c2 = (0.01 * range_hu) ** 2, (0.03 * range_hu) ** 2
    m = moments(x, y)
    deviations = np.sqrt(m.variance_x.clip(0) * m.variance_y.clip(0))
    luminance = (2 * m.mean_x * m.mean_y + c1) / (m.mean_x**2 + m.mean_y**2 + c1)
    contrast = (2 * deviations + c2) / (m.variance_x + m.variance_y + c2)
    structure = (m.covariance + c2 / 2) / (deviations + c2 / 2)
    product: Image = luminance.clip(0) * contrast.clip(0) * structure.clip(0)
    return product


def moments(x: Image, y: Image) -> Moments:
    """Return local moments with sample variances (divided by n - 1)."""
    voxels = _WINDOW**3
    unbiased = voxels / (voxels - 1)
    mean_x, mean_y = window_mean(x), window_mean(y)
    return Moments(
        mean_x=mean_x,
        mean_y=mean_y,
        variance_x=unbiased * (window_mean(x * x) - mean_x**2),
        variance_y=unbiased * (window_mean(y * y) - mean_y**2),
        covariance=unbiased * (window_mean(x * y) - mean_x * mean_y),
    )


def window_mean(image: Image) -> Image:
    """Return the mean of the 7^3 window around each voxel; the image is mirrored at its border."""
    mean: Image = uniform_filter(image, _WINDOW)
    return mean


def counted_box(body: Mask) -> tuple[tuple[slice, ...], Mask]:
    """Return the box of voxels that a mean over the body depends on, and the voxels it is over.

    The outer 3 voxels of the volume do not count (exceptions in `similarity`). The box has a margin
    of a window around the counted voxels, so that their moments equal those of the whole volume.
    """
    inner = tuple(
        slice(_MARGIN, size - _MARGIN) if size >= _WINDOW else slice(None) for size in body.shape
    )
    counted = np.zeros_like(body)
    counted[inner] = body[inner]
    if not counted.any():
        counted = body
    box = bounding_box(counted, [_MARGIN] * 3) or (slice(None),) * 3
    return box, counted[box]


def padding_of(size: int) -> tuple[int, int]:
    """Return the padding before and after an axis to at least `SMALLEST_MULTISCALE` voxels."""
    missing = max(0, SMALLEST_MULTISCALE - size)
    return missing // 2, missing - missing // 2


def downsample(image: Image) -> Image:
    """Halve an image: average each other voxel with its predecessor along each axis.

    The predecessor of the first voxel is 0, as in the challenge's convolution.
    """
    for axis in range(image.ndim):
        # pairs (before first, 0), (1, 2), (3, 4), ...
        later = np.moveaxis(image, axis, 0)[::2]
        earlier = np.zeros_like(later)
        earlier[1:] = np.moveaxis(image, axis, 0)[1::2][: len(later) - 1]
        image = np.moveaxis((later + earlier) / 2, 0, axis)
    return image
