"""What a translated image should share with real images of its new domain, layer by layer of the
body: the distribution of its values, and at first their mean. No pair is needed, for a population
has no anatomy.

Axes: B batch, H rows, W columns, L layers, Q quantiles.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.nets.norm import at_least_fp32

Image = Float[Tensor, "B 1 H W"]
Scalar = Float[Tensor, ""]

LAYER_SHARES = (0.03, 0.08, 0.15)
"""Depths below the surface at which layers end, as shares of the slice's shorter side: of a head in
230 mm some 7, 18 and 35 mm, so scalp, skull, what lies below, and the rest."""
NUM_QUANTILES = 64
FINE_SHARES = tuple(number / 80 for number in range(1, 13))
"""Layers of some 3 mm down to the 35 mm where the last of `LAYER_SHARES` ends."""


def population_loss(translated: Image, body: Image, real: Image, real_body: Image) -> Scalar:
    """Mean Wasserstein-1 distance of values between translated and real slices, over the layers.

    In one dimension it is the mean difference of the quantiles (Vallender 1974), so its gradient
    moves each value to the one of equal rank: bone that is painted on the scalp has to leave, since
    no real scalp is as dense. Matching distributions by sorting is Delon 2004's and, as a loss,
    Heitz 2021's (sliced Wasserstein). Slices should come from similar heights (`data.partner`
    position). Layers that one of the two lacks are left out.
    """
    ours, our_counts = layer_quantiles(at_least_fp32(translated), layers(body))
    theirs, their_counts = layer_quantiles(at_least_fp32(real), layers(real_body))
    shown = ((our_counts > 0) & (their_counts > 0)).to(ours.dtype)
    distance = (ours - theirs.detach()).abs().mean(-1)  # [B, L]
    return (distance * shown).sum() / shown.sum().clamp(min=1)


def depth_loss(translated: Image, body: Image, real: Image, real_body: Image) -> Scalar:
    """Mean squared distance, over the body, from the real slice's mean value at the same depth.

    Partners change with every step, so what is least on average is the mean of their population as
    a function of depth (and of height, with `data.partner` position): a place to start from that is
    neither the input nor noise. It has no anatomy; where it weighs on, images stay smooth.
    """
    masks, theirs = layers(body, FINE_SHARES), layers(real_body, FINE_SHARES)
    counts = theirs.sum((-2, -1))
    means = (at_least_fp32(real) * theirs).sum((-2, -1)) / counts.clamp(min=1)  # [B, L]
    masks = masks * (counts > 0)[..., None, None]
    usual = (masks * means[..., None, None]).sum(1, keepdim=True)
    seen = masks.sum(1, keepdim=True)
    error = (at_least_fp32(translated) - usual).square() * seen
    return error.sum() / seen.sum().clamp(min=1)


def layers(body: Image, shares: tuple[float, ...] = LAYER_SHARES) -> Float[Tensor, "B L H W"]:
    """The body cut into layers from its surface inwards; the image's border is no surface.

    Depth is the chessboard distance, which a maximum over a square gives on any device.
    """
    mask = at_least_fp32(body)
    side = min(body.shape[-2:])
    deeper = [mask]
    for share in shares:
        radius = max(1, round(share * side))
        wide = 2 * radius + 1
        # A square's maximum is that of its rows' maxima: 2 x wide comparisons instead of wide^2.
        rows = F.max_pool2d(1 - mask, (1, wide), stride=1, padding=(0, radius))
        deeper.append(1 - F.max_pool2d(rows, (wide, 1), stride=1, padding=(radius, 0)))
    deeper.append(torch.zeros_like(mask))
    return torch.cat([a - b for a, b in pairwise(deeper)], dim=1)


def layer_quantiles(
    image: Image, masks: Float[Tensor, "B L H W"]
) -> tuple[Float[Tensor, "B L Q"], Float[Tensor, "B L"]]:
    """Evenly spaced quantiles of an image inside each mask, and how many pixels each has."""
    counts = masks.sum((-2, -1))
    # Pixels of other layers go to the end: no image reaches 4.
    ordered = torch.where(masks > 0.5, image, 4.0).flatten(2).sort(-1).values
    shares = (torch.arange(NUM_QUANTILES, device=image.device) + 0.5) / NUM_QUANTILES
    ranks = (shares * counts[..., None]).long().clamp(max=ordered.shape[-1] - 1)
    return ordered.gather(-1, ranks), counts
