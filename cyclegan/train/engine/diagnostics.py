"""Measurements that show failure modes of a run which its losses do not show.

They are made on the device, without a host-device sync, and do not affect training.

Axes: B slice pairs, H rows, W columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cyclegan.data.batch import Batch, middle_slice
from cyclegan.nets.network_pairs import Translated
from cyclegan.nets.population_loss import layers, population_loss
from mrct.imaging.hounsfield import MONITORED_BONE_HU, WINDOW_HU

Image = Float[Tensor, "B 1 H W"]
Scalar = Float[Tensor, ""]

MEASURE_EVERY_STEPS = 10
"""Steps between two measurements of the images."""
BONE_IN_CT = 2 * (MONITORED_BONE_HU - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]) - 1
"""`MONITORED_BONE_HU` in network units."""
HU_PER_UNIT = (WINDOW_HU[1] - WINDOW_HU[0]) / 2


@torch.no_grad()
def accuracy(real_scores: Tensor, fake_scores: Tensor) -> Scalar:
    """Return the share of patches classified correctly: real above 0.5, fake below.

    0.5 corresponds to guessing.
    """
    return 0.5 * ((real_scores > 0.5).float().mean() + (fake_scores < 0.5).float().mean())


@torch.no_grad()
def image_statistics(batch: Batch, images: Translated) -> dict[str, Tensor]:
    """Compare synthetic with real images inside the body; no host-device sync.

    `watch/spread_ct` and `watch/spread_mri`: standard deviation of synthetic images divided by that
    of real ones. `watch/edges`: correlation of gradient magnitudes of MRI and synthetic CT.
    `watch/bone`: MRI brightness at the synthetic CT's bone minus that of the whole body, in
    standard deviations; cortical bone is dark on MRI. `watch/surface`: correlation of MRI and
    synthetic CT near the body's surface, where bright fat and dark bone are adjacent.
    `watch/layers`: distance of synthetic from real CT values per layer of the body, in HU; it is
    only plotted, because failed runs have good values too (`docs/recipe.md`).
    """
    mri, fake_ct = batch.middle_mri.float(), middle_slice(images.fake_ct)
    ct, fake_mri = batch.middle_ct.float(), middle_slice(images.fake_mri)
    mri_body, ct_body = batch.mri_body.float(), batch.ct_body.float()
    mean, spread = moments(mri, mri_body)
    bone = mri_body * (fake_ct > BONE_IN_CT)
    near_surface = layers(mri_body, batch.pixel_mm)[:, :2].sum(1, keepdim=True)
    return {
        "watch/spread_ct": moments(fake_ct, mri_body)[1] / moments(ct, ct_body)[1],
        "watch/spread_mri": moments(fake_mri, ct_body)[1] / spread,
        "watch/edges": correlation(edges(mri), edges(fake_ct), mri_body[..., 1:, 1:]),
        # 0 as long as there is no bone.
        "watch/bone": (bone * (mri - mean)).sum() / bone.sum().clamp(min=1) / spread,
        "watch/surface": correlation(mri, fake_ct, near_surface),
        "watch/layers": population_loss(fake_ct, mri_body, ct, ct_body, batch.pixel_mm)
        * HU_PER_UNIT,
    }


def moments(image: Image, mask: Image) -> tuple[Scalar, Scalar]:
    """Return mean and standard deviation inside the mask."""
    count = mask.sum().clamp(min=1)
    mean = (image * mask).sum() / count
    return mean, ((image - mean).square() * mask).sum().div(count).sqrt().clamp(min=1e-6)


def edges(image: Image) -> Float[Tensor, "B 1 H1 W1"]:
    """Return gradient magnitudes, from differences with the pixels above and to the left."""
    rows = image[..., 1:, 1:] - image[..., :-1, 1:]
    columns = image[..., 1:, 1:] - image[..., 1:, :-1]
    return torch.hypot(rows, columns)


def correlation(a: Image, b: Image, mask: Image) -> Scalar:
    """Return Pearson's correlation inside the mask."""
    (mean_a, spread_a), (mean_b, spread_b) = moments(a, mask), moments(b, mask)
    together = ((a - mean_a) * (b - mean_b) * mask).sum() / mask.sum().clamp(min=1)
    return together / (spread_a * spread_b)
