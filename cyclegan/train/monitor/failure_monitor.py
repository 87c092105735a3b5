"""Signs that a run goes wrong while its losses look well, and what to try then.

`signs` is measured on the device beside a step, `Watch` reads the means of it between two log
lines. Nothing that is computed depends on either.

Axes: B slice pairs, H rows, W columns.
"""

from collections.abc import Mapping
from typing import Literal

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
TOO_RIGHT = 0.98
"""Share of patches that a critic judges rightly, from which on it no longer teaches."""
TOO_FLAT = 0.1
"""Spread of synthetic images relative to that of real ones, below which they say nothing."""
TOO_ALIKE = 0.25
"""Correlation of MRI and synthetic CT near the surface, from which on fat passes for bone."""
TOO_BRIGHT = 0.5
"""Brightness of the MRI where its synthetic CT has bone, in standard deviations, likewise. Both
bounds lie between the runs that were lost and those that were not in `docs/recipe.md`."""
NO_EDGES = 0.05
"""Correlation of edges, below which a synthetic CT has lost the anatomy of its MRI."""
PATIENCE = 3
"""Log lines in a row that show a sign before it is told: a GAN swings."""


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


class Watch:
    """Reads the means of each log line and says, once each, what has been wrong for a while."""

    def __init__(self, mri_contrast: Literal["plain", "inverted"]) -> None:
        self.bone_is_dark = mri_contrast == "plain"
        self.seen: dict[str, int] = {}

    def read(self, means: Mapping[str, float]) -> list[str]:
        """What to tell the user now; mostly nothing."""
        told = []
        for sign, (shows, text) in self.judged(means).items():
            self.seen[sign] = self.seen.get(sign, 0) + 1 if shows else 0
            if self.seen[sign] == PATIENCE:
                told.append(text)
        return told

    def judged(self, means: Mapping[str, float]) -> dict[str, tuple[bool, str]]:
        """Whether each sign shows in these means, and its words."""
        found: dict[str, tuple[bool, str]] = {}
        for domain in ("mri", "ct"):
            if (right := means.get(f"accuracy/critic_{domain}")) is not None:
                found[f"critic_{domain}"] = (
                    right > TOO_RIGHT,
                    f"the {domain.upper()} critic is right on {right:.0%} of its patches, so the "
                    "translators learn nothing from it. Try --critic.spectral, a smaller "
                    "--optimizer.critic-learning-rate, or --optimizer.critic-every-steps 2.",
                )
            if (spread := means.get(f"watch/spread_{domain}")) is not None:
                found[f"spread_{domain}"] = (
                    spread < TOO_FLAT,
                    f"synthetic {domain.upper()}s are nearly flat (spread {spread:.2f} of real "
                    "ones): the translators have collapsed. Try smaller learning rates, "
                    "a larger --loss.cycle.weight, or another --run.seed.",
                )
        if (likeness := means.get("watch/edges")) is not None:
            found["edges"] = (
                likeness < NO_EDGES,
                f"edges of synthetic CTs do not lie where the MRI has them (correlation "
                f"{likeness:.2f}): anatomy is lost. Try a larger --loss.cycle.weight or "
                "--data.partner position.",
            )
        wrong = 1 if self.bone_is_dark else -1
        bone, surface = (wrong * means.get(f"watch/{name}", 0.0) for name in ("bone", "surface"))
        found["lock_in"] = (
            bone > TOO_BRIGHT or surface > TOO_ALIKE,
            "contrast lock-in: bone of synthetic CTs lies where the MRI is "
            f"{'bright' if self.bone_is_dark else 'shown dark, that is bright fat'} "
            f"({wrong * bone:+.1f} standard deviations from the body's mean; near the surface MRI "
            f"and synthetic CT correlate by {wrong * surface:+.2f}): fat has taken the place of "
            "bone, and the losses do not see it. Try --data.mri-contrast inverted "
            "in a new run; this one may turn round late, or never.",
        )
        return found
