"""Structural similarity of slices, and of two CTs inside the body as in the SynthRAD challenges.

Arrays are [z, y, x]. CTs are float64, non-negative (HU shifted by the window's low end) and 0
outside the body; `range_hu` is the width of the window.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from mrct.imaging.body_mask import bounding_box

Image = NDArray[np.float64]
Slices = NDArray[np.float32]
Mask = NDArray[np.bool_]

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang, Simoncelli and Bovik 2003, section 3.2, finest scale first."""
SMALLEST_MULTISCALE = 97
"""Smallest size of an axis, in voxels, for five scales of 7^3 windows."""
_WINDOW = 7
_MARGIN = _WINDOW // 2
_VOXELS = _WINDOW**3
_UNBIASED = _VOXELS / (_VOXELS - 1)
_GAUSSIAN_REACH = 5
_SLICES_AT_ONCE = 8
"""Few, so that the maps of these slices stay in the processor's cache, and memory small."""


class Moments(NamedTuple):
    """Means, variances and covariance in the 7^3 window around each voxel."""

    mean_x: Image
    mean_y: Image
    variance_x: Image
    variance_y: Image
    covariance: Image


def slice_similarity(x: Slices, y: Slices) -> float:
    """Return the structural similarity of slices in [-1, 1], averaged over all pixels and slices.

    Wang 2004, eq. 13, with the 11 x 11 Gaussian of 1.5 pixels, K1 .01, K2 .03 and data range 2, in
    fp32; slices are mirrored at their border. Pixels whose windows are equal have similarity 1, so
    only the box of those that differ is computed.

    Args:
        x: Slices [z, y, x]; rows and columns are at least 11.
        y: The other slices.
    """
    # One window shows what differs to a pixel; the next one never reaches over the box's border.
    margin = 2 * _GAUSSIAN_REACH
    box = bounding_box(x != y, (0, margin, margin))
    if box is None:
        return 1.0
    size, x, y, lost = x.size, x[box], y[box], 0.0
    for z in range(0, len(x), _SLICES_AT_ONCE):
        part = slice(z, z + _SLICES_AT_ONCE)
        means = (
            gaussian_filter(image, 1.5, axes=(1, 2), radius=_GAUSSIAN_REACH, mode="mirror")
            for image in sum_and_difference(x[part], y[part])
        )
        lost += float((1 - similarity_of(*means, range_hu=2.0)).sum(dtype=np.float64))
    return 1 - lost / size


def sum_and_difference(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return x + y and x - y, and their squares.

    Their means are the moments that a similarity needs, four instead of five: x y is
    (x + y)^2 / 4 - (x - y)^2 / 4, and x^2 + y^2 is (x + y)^2 / 2 + (x - y)^2 / 2.
    """
    total, change = x + y, x - y
    return total, change, total * total, change * change


def similarity_of(
    total: NDArray[Any],
    change: NDArray[Any],
    total_2: NDArray[Any],
    change_2: NDArray[Any],
    *,
    range_hu: float,
    unbiased: float = 1.0,
) -> NDArray[Any]:
    """Return the structural similarity (Wang 2004, eq. 13) of each window.

    Args:
        total: Mean of `sum_and_difference` in each window: of x + y.
        change: Of x - y.
        total_2: Of (x + y)^2.
        change_2: Of (x - y)^2.
        range_hu: Dynamic range.
        unbiased: Factor of the variances, n / (n - 1) for sample variances.
    """
    c1, c2 = 2 * (0.01 * range_hu) ** 2, 2 * (0.03 * range_hu) ** 2
    mean_t, mean_c = total**2, change**2
    variance_t, variance_c = unbiased * (total_2 - mean_t), unbiased * (change_2 - mean_c)
    similar: NDArray[Any] = (mean_t - mean_c + c1) * (variance_t - variance_c + c2)
    similar /= (mean_t + mean_c + c1) * (variance_t + variance_c + c2)
    return similar


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
    box, counted = counted_box(body)
    x, y, total, recent = x[box], y[box], 0.0, deque[Image]()
    window = np.zeros((4, *x.shape[1:]))
    # Slice by slice, in the processor's cache: the window's sum moves on by one slice.
    for last, z in enumerate(np.pad(np.arange(len(x)), _MARGIN, mode="symmetric")):
        recent.append(square_sums(np.stack(sum_and_difference(x[z], y[z]))))
        window += recent[-1]
        if last >= _WINDOW:
            window -= recent.popleft()
        if last >= _WINDOW - 1:
            mask = counted[last - _WINDOW + 1]
            means = (sums[mask] / _VOXELS for sums in window)
            total += float(similarity_of(*means, range_hu=range_hu, unbiased=_UNBIASED).sum())
    return total / int(counted.sum())


def square_sums(images: Image) -> Image:
    """Return the sum of the 7 x 7 pixels around each, mirrored at the border, as sums of sums."""
    around = ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))
    lines = np.pad(images, around, mode="symmetric")
    for _ in range(2):
        lines = lines.swapaxes(1, 2)
        two = lines[:, :-1] + lines[:, 1:]
        four = two[:, :-2] + two[:, 2:]
        lines = four[:, :-3] + two[:, 4:-1] + lines[:, 6:]
    return lines


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
    mean_x, mean_y = window_mean(x), window_mean(y)
    return Moments(
        mean_x=mean_x,
        mean_y=mean_y,
        variance_x=_UNBIASED * (window_mean(x * x) - mean_x**2),
        variance_y=_UNBIASED * (window_mean(y * y) - mean_y**2),
        covariance=_UNBIASED * (window_mean(x * y) - mean_x * mean_y),
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
