"""Objective of the generators: every loss term of one batch, and their weighted sum.

Axes: B slice pairs, H rows, W columns.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cyclegan.config.config import LossConfig
from cyclegan.config.loss import Term
from cyclegan.data.batch import Batch, middle_slice
from cyclegan.nets.losses import (
    adversarial_loss,
    gradient_difference_loss,
    identity_loss,
    round_trip_loss,
    shape_loss,
    structural_loss,
)
from cyclegan.nets.mind_loss import structure_loss
from cyclegan.nets.network_pairs import Translated
from cyclegan.nets.population_loss import depth_loss, population_loss
from mrct.imaging.hounsfield import BODY_HU, WINDOW_HU
from mrct.imaging.intensity import normalise

Terms = dict[str, Tensor]

AIR_IN_CT: float = normalise(np.float64(BODY_HU), WINDOW_HU)
"""Threshold between air and body of `mrct.imaging.body_mask`, in network units."""
AIR_IN_MRI = -0.8
"""Threshold between air and body: below most tissue of a plain MRI, and all of an inverted one."""


def generator_terms(
    batch: Batch, images: Translated, scores: tuple[Tensor, Tensor], weights: LossConfig
) -> Terms:
    """Return every term of the generators' loss, unweighted, and their weighted sum.

    A term is the sum over both directions, as in Zhu 2017 (eq. 3), not their mean. Neighbouring
    slices are inputs only; no term depends on them.

    Args:
        batch: Real slices and body masks.
        images: Outputs of the generators for this batch.
        scores: Logits of the discriminators for the fake MRI and the fake CT.
        weights: Weights at this step; terms of weight 0 are neither computed nor returned.

    Returns:
        Terms named `loss/...`, with the weighted sum as `loss/generators`; on the device.
    """
    mri, ct = batch.middle_mri, batch.middle_ct
    mri_scores, ct_scores = scores

    def cycles(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        return loss(mri, images.returned_mri), loss(ct, images.returned_ct)

    pairs: dict[str, tuple[Term, Callable[[], tuple[Tensor, Tensor]]]] = {
        "adversarial": (
            weights.adversarial,
            lambda: (adversarial_loss(mri_scores), adversarial_loss(ct_scores)),
        ),
        "cycle": (weights.cycle, lambda: cycles(round_trip_loss)),
        "identity": (
            weights.identity,
            lambda: (identity_loss(mri, images.same_mri), identity_loss(ct, images.same_ct)),
        ),
        "ssim": (weights.ssim, lambda: cycles(structural_loss)),
        "gradient": (weights.gradient, lambda: cycles(gradient_difference_loss)),
        "shape": (
            weights.shape,
            lambda: (
                shape_loss(batch.ct_body, middle_slice(images.fake_mri), AIR_IN_MRI),
                shape_loss(batch.mri_body, middle_slice(images.fake_ct), AIR_IN_CT),
            ),
        ),
        "population": (
            weights.population,
            lambda: (
                population_loss(middle_slice(images.fake_mri), batch.ct_body, mri, batch.mri_body),
                population_loss(middle_slice(images.fake_ct), batch.mri_body, ct, batch.ct_body),
            ),
        ),
        "structure": (
            weights.structure,
            lambda: (
                structure_loss(ct, middle_slice(images.fake_mri)),
                structure_loss(mri, middle_slice(images.fake_ct)),
            ),
        ),
        "depth": (
            weights.depth,
            lambda: (
                depth_loss(middle_slice(images.fake_mri), batch.ct_body, mri, batch.mri_body),
                depth_loss(middle_slice(images.fake_ct), batch.mri_body, ct, batch.ct_body),
            ),
        ),
    }
    terms: Terms = {}
    total = torch.zeros((), device=mri.device)
    for name, (term, pair) in pairs.items():
        if weight := term.effective_weight:
            of_mri, of_ct = pair()
            total = total + weight * (of_mri + of_ct)
            if name == "cycle":  # one curve per direction shows which of them fails
                terms |= {"loss/cycle_mri": of_mri, "loss/cycle_ct": of_ct}
            else:
                terms[f"loss/{name}"] = of_mri + of_ct
    return terms | {"loss/generators": total}
