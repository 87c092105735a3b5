"""Measurements of a step that show whether a run goes wrong while its losses look well.

They are made on the device beside a step, without a CPU-GPU sync; nothing that is computed depends
on them.

Axes: B slice pairs, H rows, W columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cyclegan.data.batch import Batch, own
from cyclegan.nets.network_pairs import Translated
from cyclegan.nets.population_loss import layers, population_loss
from mrct.imaging.hounsfield import MONITORED_BONE_HU, WINDOW_HU

Image = Float[Tensor, "B 1 H W"]
Scalar = Float[Tensor, ""]

MEASURE_EVERY_STEPS = 10
"""Steps from one measurement of the images to the next."""
BONE_IN_CT = 2 * (MONITORED_BONE_HU - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]) - 1
"""`MONITORED_BONE_HU` as a network sees it."""
HU_PER_UNIT = (WINDOW_HU[1] - WINDOW_HU[0]) / 2


@torch.no_grad()
def accuracy(real_scores: Tensor, fake_scores: Tensor) -> Scalar:
    """Share of patches judged rightly: real above 0.5, fake below; 0.5 is a guess."""
    return 0.5 * ((real_scores > 0.5).float().mean() + (fake_scores < 0.5).float().mean())


@torch.no_grad()
def signs(batch: Batch, images: Translated) -> dict[str, Tensor]:
    """How the synthetic images look beside the real ones, inside the body; no sync.

    `watch/spread_ct` and `watch/spread_mri`: standard deviation of synthetic images over that of
    real ones. `watch/edges`: correlation of gradient magnitudes of MRI and synthetic CT.
    `watch/bone`: how much brighter the MRI is where its synthetic CT is bone than in the whole
    body, in standard deviations; cortical bone is dark on MRI. `watch/surface`: correlation of MRI
    and synthetic CT near the body's surface, where bright fat and dark bone lie side by side.
    `watch/layers`: how far the synthetic CTs' values lie from real ones, layer by layer of the
    body, in HU; a curve only, since runs that are lost get this right (`docs/recipe.md`).
    """
    mri, fake_ct = batch.own_mri.float(), own(images.fake_ct)
    ct, fake_mri = batch.own_ct.float(), own(images.fake_mri)
    mri_body, ct_body = batch.mri_body.float(), batch.ct_body.float()
    mean, spread = moments(mri, mri_body)
    bone = mri_body * (fake_ct > BONE_IN_CT)
    near_surface = layers(mri_body)[:, :2].sum(1, keepdim=True)
    return {
        "watch/spread_ct": moments(fake_ct, mri_body)[1] / moments(ct, ct_body)[1],
        "watch/spread_mri": moments(fake_mri, ct_body)[1] / spread,
        "watch/edges": correlation(edges(mri), edges(fake_ct), mri_body[..., 1:, 1:]),
        # Without any bone yet there is no sign of it: 0.
        "watch/bone": (bone * (mri - mean)).sum() / bone.sum().clamp(min=1) / spread,
        "watch/surface": correlation(mri, fake_ct, near_surface),
        "watch/layers": population_loss(fake_ct, mri_body, ct, ct_body) * HU_PER_UNIT,
    }


def moments(image: Image, mask: Image) -> tuple[Scalar, Scalar]:
    """Mean and standard deviation inside the mask."""
    count = mask.sum().clamp(min=1)
    mean = (image * mask).sum() / count
    return mean, ((image - mean).square() * mask).sum().div(count).sqrt().clamp(min=1e-6)


def edges(image: Image) -> Float[Tensor, "B 1 H1 W1"]:
    """Gradient magnitude by differences with the pixel above and the one to the left."""
    rows = image[..., 1:, 1:] - image[..., :-1, 1:]
    columns = image[..., 1:, 1:] - image[..., 1:, :-1]
    return torch.hypot(rows, columns)


def correlation(a: Image, b: Image, mask: Image) -> Scalar:
    """Pearson's, inside the mask."""
    (mean_a, spread_a), (mean_b, spread_b) = moments(a, mask), moments(b, mask)
    together = ((a - mean_a) * (b - mean_b) * mask).sum() / mask.sum().clamp(min=1)
    return together / (spread_a * spread_b)
