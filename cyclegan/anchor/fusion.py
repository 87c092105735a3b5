"""How far each of several CTs over an MRI is to be trusted, voxel by voxel, and their mean.

Axes: K CTs, Z slices, Y rows, X columns, H bins of HU, M bins of the MRI, V voxels of the body.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.ndimage import gaussian_filter

from cyclegan.contrast.likelihood import LEAST
from cyclegan.contrast.value_bins import hu_bins
from mrct.imaging.hounsfield import AIR_HU

LOCAL_VOXELS = 1.0
"""Standard deviation of the neighbourhood in which a CT has to explain the MRI."""
SHARPNESS = 0.5
"""Nats by which a CT has to explain the MRI worse for 1/e of the weight."""
Volumes = Float[np.ndarray, "K Z Y X"]


def explained_nats(
    hu: Num[np.ndarray, "Z Y X"],
    body: Bool[np.ndarray, "Z Y X"],
    values: Int[np.ndarray, " V"],
    likelihood: Float[np.ndarray, "H M"],
) -> Float[np.ndarray, " V"]:
    """Return how well the HU of a CT explain the values of the MRI under it: log P(m | h).

    Args:
        hu: HU of the CT.
        body: Body of the MRI, V voxels.
        values: The MRI's bin of each voxel of its body.
        likelihood: P(m | h).
    """
    nats = np.log(np.maximum(likelihood, LEAST)).astype(np.float32)
    found: Float[np.ndarray, " V"] = nats[hu_bins(np.rint(hu[body])), values]
    return found


def local_weights(
    nats: Float[np.ndarray, "K V"],
    seen: Bool[np.ndarray, "K Z Y X"],
    body: Bool[np.ndarray, "Z Y X"],
) -> Volumes:
    """Return the weight of each CT, by how well it explains the MRI around each voxel.

    Weights add up to 1 in the body and are 0 outside it, and where the scan of no CT shows a voxel.

    Args:
        nats: `explained_nats` of each CT.
        seen: Where each CT's scan shows something.
        body: Body of the MRI, V voxels.
    """
    inside = body.astype(np.float32)
    near = gaussian_filter(inside, LOCAL_VOXELS)[body] + LEAST
    shares = np.zeros(seen.shape, np.float32)
    found = []
    for each in nats:
        spread = np.zeros(body.shape, np.float32)
        spread[body] = each
        found.append(gaussian_filter(spread, LOCAL_VOXELS)[body] / near / SHARPNESS)
    # What no scan shows has no part in the comparison, however well it would explain the MRI.
    local = np.where(seen[:, body], np.stack(found), -np.inf)
    best = local.max(axis=0)
    local = np.exp(local - np.where(np.isfinite(best), best, 0.0))
    shares[:, body] = local / np.maximum(local.sum(axis=0), LEAST)
    return shares


def fused(
    hu: Num[np.ndarray, "K Z Y X"], weight: Num[np.ndarray, "K Z Y X"]
) -> Float[np.ndarray, "Z Y X"]:
    """Return the mean of CTs by their weights; -1024 where none has any."""
    total = weight.sum(axis=0, dtype=np.float32)
    summed = sum(np.float32(w) * h for w, h in zip(weight, hu, strict=True))
    found: Float[np.ndarray, "Z Y X"] = np.where(
        total > 0, summed / np.maximum(total, LEAST), AIR_HU
    )
    return found
