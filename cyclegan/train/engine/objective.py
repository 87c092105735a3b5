"""Objective of the generators: every loss term of one batch, and their weighted sum.

Axes: B slice pairs, H rows, W columns.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from cyclegan.data.batch import Batch, middle_slice
from cyclegan.nets.losses import (
    adversarial_loss,
    discriminator_loss,
    gradient_difference_loss,
    identity_loss,
    round_trip_loss,
    shape_loss,
    structural_loss,
    trusted_loss,
)
from cyclegan.nets.mind_loss import structure_loss
from cyclegan.nets.network_pairs import Translated
from cyclegan.nets.population_loss import depth_loss, population_loss
from cyclegan.train.engine.diagnostics import accuracy
from mrct.imaging.hounsfield import BODY_HU, WINDOW_HU
from mrct.imaging.intensity import normalise

Terms = dict[str, Tensor]

AIR_IN_CT: float = normalise(np.float64(BODY_HU), WINDOW_HU)
"""Threshold between air and body of `mrct.imaging.body_mask`, in network units."""
BY_DIRECTION = ("cycle", "paired")
"""Terms with a curve for each direction, which shows the one that fails."""
AIR_IN_MRI = -0.8
"""Threshold between air and body: below most tissue of a plain MRI, and all of an inverted one."""


def generator_terms(
    batch: Batch,
    images: Translated,
    scores: tuple[Tensor, Tensor],
    weights: Mapping[str, Tensor | float],
) -> Terms:
    """Return every term of the generators' loss, unweighted, and their weighted sum.

    A term is the sum over both directions, as in Zhu 2017 (eq. 3), not their mean. Neighbouring
    slices are inputs only; no term depends on them.

    Args:
        batch: Real slices and body masks.
        images: Outputs of the generators for this batch.
        scores: Logits of the discriminators for the fake MRI and the fake CT.
        weights: Weights at this step by name; other terms are neither computed nor returned.

    Returns:
        Terms named `loss/...`, detached, and the weighted sum as `loss/generators`; on the device.
    """
    mri, ct = batch.middle_mri, batch.middle_ct
    mri_body, ct_body = batch.mri_body, batch.ct_body
    mri_scores, ct_scores = scores

    def cycles(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        return loss(mri, images.returned_mri), loss(ct, images.returned_ct)

    def companions(channel: int) -> tuple[Tensor, Tensor]:
        """Of MRIs drawn from companions and of CTs of their MRIs."""
        assert batch.companion is not None
        assert batch.trust is not None
        assert images.companion_mri is not None
        trust, fake_ct = batch.trust[:, channel : channel + 1], middle_slice(images.fake_ct)
        drawn = trusted_loss(mri, images.companion_mri, trust)
        return drawn, trusted_loss(batch.companion, fake_ct, trust)

    pairs: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "adversarial": lambda: (adversarial_loss(mri_scores), adversarial_loss(ct_scores)),
        "cycle": lambda: cycles(round_trip_loss),
        "identity": lambda: (
            identity_loss(mri, images.same_mri),
            identity_loss(ct, images.same_ct),
        ),
        "ssim": lambda: cycles(structural_loss),
        "gradient": lambda: cycles(gradient_difference_loss),
        "shape": lambda: (
            shape_loss(ct_body, middle_slice(images.fake_mri), AIR_IN_MRI),
            shape_loss(mri_body, middle_slice(images.fake_ct), AIR_IN_CT),
        ),
        "population": lambda: (
            population_loss(middle_slice(images.fake_mri), ct_body, mri, mri_body, batch.pixel_mm),
            population_loss(middle_slice(images.fake_ct), mri_body, ct, ct_body, batch.pixel_mm),
        ),
        "structure": lambda: (
            structure_loss(ct, middle_slice(images.fake_mri)),
            structure_loss(mri, middle_slice(images.fake_ct)),
        ),
        "depth": lambda: (
            depth_loss(middle_slice(images.fake_mri), ct_body, mri, mri_body, batch.pixel_mm),
            depth_loss(middle_slice(images.fake_ct), mri_body, ct, ct_body, batch.pixel_mm),
        ),
        "paired": lambda: companions(0),
        # MRI -> warped CT would learn the errors of the registration.
        "anchor": lambda: companions(1)[:1],
    }
    terms: Terms = {}
    total = torch.zeros((), device=mri.device)
    for name, pair in pairs.items():
        if name in weights:
            of_mri, *of_ct = pair()
            both = of_mri + of_ct[0] if of_ct else of_mri
            total = total + weights[name] * both
            if name in BY_DIRECTION:
                of_both = {"mri": of_mri, "ct": of_ct[0]}
                terms |= {f"loss/{name}_{each}": x.detach() for each, x in of_both.items()}
            else:
                terms[f"loss/{name}"] = both.detach()
    return terms | {"loss/generators": total}


def discriminator_terms(mri_scores: Tensor, ct_scores: Tensor) -> Terms:
    """Return the loss and the accuracy of both discriminators.

    Args:
        mri_scores: Logits of real MRIs, then of as many fakes.
        ct_scores: Logits of real CTs, then of as many fakes.
    """
    scores = {"mri": mri_scores.chunk(2), "ct": ct_scores.chunk(2)}
    return {
        f"{kind}/discriminator_{name}": formula(*each)
        for kind, formula in (("loss", discriminator_loss), ("accuracy", accuracy))
        for name, each in scores.items()
    }
