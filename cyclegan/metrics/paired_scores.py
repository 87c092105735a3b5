"""Scores of a synthetic CT against the real CT of the same anatomy, inside the body.

Definitions are those of the SynthRAD challenges, where these have one. In all functions
`synthetic` and `real` are HU [z, y, x] on one grid, and `body` is a mask of 0 and 1 of the same
shape; voxels outside it never count.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclegan.metrics.histogram import distance_hu, histogram_of, tissues_of
from cyclegan.metrics.protocol import SYNTHRAD2025, Protocol
from cyclegan.metrics.ssim import multiscale_similarity, similarity
from mrct.imaging.hounsfield import BONE_HU, CAVITY_HU

NUM_TENTHS = 10
"""Slabs of equal height that errors are reported for."""
MAX_PSNR_DB = 100.0
"""PSNR of identical images instead of infinity, so that means and JSON stay finite."""

HU = NDArray[Any]
Mask = NDArray[Any]


def mae_hu(synthetic: HU, real: HU, body: Mask) -> float:
    """Return the mean absolute error in HU over the body, not clipped (SynthRAD2023 and 2025).

    Examples:
        >>> real, body = np.zeros((1, 2, 2)), np.ones((1, 2, 2))
        >>> mae_hu(real - 40, real, body)
        40.0
    """
    return float(np.abs(_errors(synthetic, real, body)).mean())


def bias_hu(synthetic: HU, real: HU, body: Mask) -> float:
    """Return the mean error in HU over the body: positive if the synthetic CT is too dense."""
    return float(_errors(synthetic, real, body).mean())


def tissue_mae_hu(synthetic: HU, real: HU, body: Mask) -> dict[str, float]:
    """Return the mean absolute error in HU by tissue of the real CT.

    The keys are `mae_air_hu` (below -200 HU), `mae_bone_hu` (above 250 HU) and `mae_soft_hu`
    (between). A tissue that the body lacks is left out.
    """
    errors, truth = np.abs(_errors(synthetic, real, body)), real[body.astype(bool)]
    return {
        f"mae_{tissue}_hu": float(errors[part].mean())
        for tissue, part in tissues_of(truth).items()
        if part.any()
    }


def air_mae_hu(synthetic: HU, real: HU, body: Mask) -> dict[str, float]:
    """Return the mean absolute error in HU of the air, apart for the skin's rim and for cavities.

    The keys are `mae_air_rim_hu`, air of the real CT in the body's outermost voxel, which is
    partial volume of skin and tells how well the outlines agree, and `mae_air_cavity_hu`, all other
    air: sinuses and airways. What the body lacks is left out.
    """
    inside = body.astype(bool)
    # A border of the array that cuts the body is no surface.
    deep = ndimage.binary_erosion(inside, border_value=1)
    air = inside & (real < CAVITY_HU)
    return {
        f"mae_air_{name}_hu": mae_hu(synthetic, real, part)
        for name, part in (("rim", air & ~deep), ("cavity", air & deep))
        if part.any()
    }


def height_mae_hu(synthetic: HU, real: HU, body: Mask) -> list[float | None]:
    """Return the mean absolute error in HU over the body in ten slabs of slices, lowest first.

    The slabs divide the slices that contain body into tenths; a slab without body is None.
    """
    inside = body.astype(bool)
    voxels = inside.sum(axis=(1, 2))
    (slices,) = np.nonzero(voxels)
    totals = [float(np.abs(_errors(synthetic[z], real[z], inside[z])).sum()) for z in slices]
    slabs = (slices - slices[0]) * NUM_TENTHS // (slices[-1] - slices[0] + 1)
    error = np.bincount(slabs, totals, minlength=NUM_TENTHS)
    counts = np.bincount(slabs, voxels[slices], minlength=NUM_TENTHS)
    return [float(e / n) if n else None for e, n in zip(error, counts, strict=True)]


def histogram_hu(synthetic: HU, real: HU, body: Mask) -> float:
    """Return the Wasserstein-1 distance in HU of the histograms inside the body.

    It is 0 if both have the same values, regardless of their positions.
    """
    inside = body.astype(bool)
    return distance_hu(histogram_of(synthetic[inside]), histogram_of(real[inside]))


def psnr_db(synthetic: HU, real: HU, body: Mask, protocol: Protocol = SYNTHRAD2025) -> float:
    """Return the peak signal-to-noise ratio in dB over the body (SynthRAD2023 and 2025).

    Both CTs are clipped to the protocol's window, whose width is the peak. The result is at most
    100 dB.
    """
    inside = body.astype(bool)
    window, peak = protocol.window_hu, protocol.range_hu
    error = synthetic[inside].astype(np.float64).clip(*window) - real[inside].clip(*window)
    # The floor is the squared error at which MAX_PSNR_DB is reached.
    square = max(float(np.mean(error**2)), peak**2 / 10 ** (MAX_PSNR_DB / 10))
    return float(10 * np.log10(peak**2 / square))


def ssim(synthetic: HU, real: HU, body: Mask, protocol: Protocol = SYNTHRAD2025) -> float:
    """Return the structural similarity, averaged over the body (`ssim.similarity`)."""
    return similarity(*_shifted(synthetic, real, body, protocol), protocol.range_hu)


def ms_ssim(synthetic: HU, real: HU, body: Mask) -> float | None:
    """Return the multi-scale structural similarity (SynthRAD2025; `ssim.multiscale_similarity`).

    It is None for a body too thin for its scales.
    """
    images = _shifted(synthetic, real, body, SYNTHRAD2025)
    return multiscale_similarity(*images, SYNTHRAD2025.range_hu)


def bone_dice(synthetic: HU, real: HU, body: Mask) -> float:
    """Return the Dice overlap of bone, above 250 HU, in the body; 1 if neither CT has bone."""
    inside = body.astype(bool)
    return dice(synthetic[inside] > BONE_HU, real[inside] > BONE_HU)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return 2 |A and B| / (|A| + |B|) (Dice 1945); 1 if both masks are empty."""
    total = int(a.sum() + b.sum())
    return float(2 * (a & b).sum() / total) if total else 1.0


def bone_hd95_mm(
    synthetic: HU, real: HU, body: Mask, spacing_mm: tuple[float, float, float]
) -> float | None:
    """Return the 95th percentile Hausdorff distance of bone in mm; None if one CT has no bone.

    Bone is above 250 HU and in the body. `spacing_mm` is the voxel spacing (z, y, x).
    """
    inside = body.astype(bool)
    ours, theirs = (inside & (hu > BONE_HU) for hu in (synthetic, real))
    return hd95_mm(ours, theirs, spacing_mm)


def paired_scores(
    synthetic: HU, real: HU, body: Mask, protocol: Protocol = SYNTHRAD2025
) -> dict[str, float]:
    """Return the four scores that are fast enough for validation during training.

    Args:
        synthetic: Synthetic CT in HU [z, y, x].
        real: Real CT in HU [z, y, x].
        body: Body mask of the real CT, so that a wrong outline counts as an error.
        protocol: Challenge whose PSNR and SSIM are computed.

    Returns:
        `mae_hu`, `psnr_db`, `ssim` and `bone_dice`.

    Examples:
        >>> real, body = np.zeros((8, 16, 16)), np.ones((8, 16, 16))
        >>> scores = paired_scores(real + 20, real, body)
        >>> scores["mae_hu"], round(scores["psnr_db"], 1)
        (20.0, 46.2)

    Raises:
        ValueError: The arrays differ in shape, the mask is empty, or a value inside it is not
            finite.
    """
    require_comparable(synthetic, real, body)
    inside = body.astype(bool)
    voxels = body_voxels(synthetic, real, inside)
    return {
        "mae_hu": mae_hu(*voxels),
        "psnr_db": psnr_db(*voxels, protocol),
        "ssim": ssim(synthetic, real, inside, protocol),
        "bone_dice": bone_dice(*voxels),
    }


def all_paired_scores(
    synthetic: HU,
    real: HU,
    body: Mask,
    *,
    spacing_mm: tuple[float, float, float],
    protocol: Protocol = SYNTHRAD2025,
) -> dict[str, float]:
    """Return all scores of this module by name; those not defined for the volume are left out.

    Args:
        synthetic: Synthetic CT in HU [z, y, x].
        real: Real CT in HU [z, y, x].
        body: Body mask of the real CT, 0 or 1.
        spacing_mm: Voxel spacing (z, y, x).
        protocol: Challenge whose PSNR and SSIM are computed.

    Raises:
        ValueError: The arrays differ in shape, the mask is empty, or a value inside it is not
            finite.
    """
    scores = paired_scores(synthetic, real, body, protocol)
    voxels = body_voxels(synthetic, real, body.astype(bool))
    scores |= tissue_mae_hu(*voxels) | air_mae_hu(synthetic, real, body)
    scores["bias_hu"] = bias_hu(*voxels)
    scores["histogram_hu"] = histogram_hu(*voxels)
    if protocol.multiscale and (multiscale := ms_ssim(synthetic, real, body)) is not None:
        scores["ms_ssim"] = multiscale
    hd95 = bone_hd95_mm(synthetic, real, body, spacing_mm)
    return scores if hd95 is None else scores | {"bone_hd95_mm": hd95}


def body_voxels(synthetic: HU, real: HU, inside: NDArray[np.bool_]) -> tuple[HU, HU, Mask]:
    """Return the voxels of the body as lists, and their mask, for scores that ignore positions."""
    return synthetic[inside], real[inside], inside[inside]


def require_comparable(synthetic: HU, real: HU, body: Mask) -> None:
    """Refuse arrays whose scores would be meaningless.

    Raises:
        ValueError: The arrays differ in shape, the mask is empty, or a value inside it is not
            finite.
    """
    if not synthetic.shape == real.shape == body.shape:
        raise ValueError(
            f"The synthetic CT has {synthetic.shape} voxels, the real one {real.shape} and the "
            f"mask {body.shape}: resample them to one grid before they are compared."
        )
    inside = body.astype(bool)
    if not inside.any():
        raise ValueError("The mask is empty: there is no voxel to compare.")
    if not (np.isfinite(synthetic[inside]).all() and np.isfinite(real[inside]).all()):
        raise ValueError("A CT has values that are NaN or infinite inside the mask.")


def _errors(synthetic: HU, real: HU, body: Mask) -> NDArray[np.float64]:
    inside = body.astype(bool)
    errors: NDArray[np.float64] = synthetic[inside] - real[inside].astype(np.float64)
    return errors


def _shifted(
    synthetic: HU, real: HU, body: Mask, protocol: Protocol
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Clip both CTs to the window and shift them to start at 0, the value outside the body."""
    inside, (low, high) = body.astype(bool), protocol.window_hu

    def shifted(hu: HU) -> NDArray[np.float64]:
        image = np.empty(inside.shape)
        for z, mask in enumerate(inside):  # without copies of the whole volume
            image[z] = np.where(mask, hu[z].astype(np.float64).clip(low, high) - low, 0.0)
        return image

    return shifted(synthetic), shifted(real), inside


def hd95_mm(a: Mask, b: Mask, spacing_mm: tuple[float, float, float]) -> float | None:
    """Return the 95th percentile Hausdorff distance of two masks in mm; None if one is empty.

    The larger of both directions' percentiles of the distances from `surface` to `surface`:
    Huttenlocher 1993 with the percentile instead of the maximum, as in MONAI and the SynthRAD2025
    evaluation. `spacing_mm` is the voxel spacing (z, y, x).
    """
    if not (a.any() and b.any()):
        return None
    # Only the box around both masks matters; a margin keeps the box's border outside them.
    box = tuple(
        slice(max(0, part.start - 1), part.stop + 1)
        for part in ndimage.find_objects((a | b).astype(np.uint8))[0]
    )
    edge_a, edge_b = surface(a[box]), surface(b[box])
    distances = (
        ndimage.distance_transform_edt(~to, sampling=spacing_mm)[start]
        for start, to in ((edge_a, edge_b), (edge_b, edge_a))
    )
    return max(float(np.percentile(each, 95)) for each in distances)


def surface(mask: Mask) -> Mask:
    """Return the voxels of a mask with one of their 6 neighbours outside the mask or the array."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
