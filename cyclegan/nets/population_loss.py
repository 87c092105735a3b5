"""Population losses: value distributions and means of translated and real images per body layer.

They need no pairs, because populations are compared and not anatomies.

Axes: B batch, H rows, W columns, L layers, Q quantiles.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.nets.input_channels import PixelSize
from cyclegan.nets.norm import at_least_fp32

Image = Float[Tensor, "B 1 H W"]
Scalar = Float[Tensor, ""]

LAYER_ENDS_MM = (6.9, 18.4, 34.5)
"""Depths below the surface at which layers end: scalp, skull, the region below it, and the rest."""
NUM_QUANTILES = 64
FINE_ENDS_MM = tuple(LAYER_ENDS_MM[-1] * number / 12 for number in range(1, 13))
"""Layers of about 3 mm down to where the last of `LAYER_ENDS_MM` ends."""


def population_loss(
    translated: Image, body: Image, real: Image, real_body: Image, pixel_mm: PixelSize
) -> Scalar:
    """Return the mean Wasserstein-1 distance between translated and real values, over the layers.

    In one dimension it is the mean difference of the quantiles (Vallender 1974), so its gradient
    moves each value towards the real one of equal rank; this removes bone from the scalp, because
    no real scalp is as dense. Matching distributions by sorting is from Delon 2004 and, as a loss,
    from Heitz 2021 (sliced Wasserstein). Layers that one of the two images lacks are left out.

    Args:
        translated: Translated slices in [-1, 1].
        body: Body masks of their sources, 0 or 1.
        real: Real slices of the new domain in [-1, 1], from similar heights (`data.partner`
            position); they get no gradient.
        real_body: Body masks of the real slices, 0 or 1.
        pixel_mm: Size of a pixel, of both.

    Examples:
        >>> body, translated = torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
        >>> population_loss(translated, body, translated + 0.5, body, (1, 1))
        tensor(0.5000)
    """
    images = torch.cat([at_least_fp32(translated), at_least_fp32(real).detach()])
    quantiles, counts = layer_quantiles(images, layers(torch.cat([body, real_body]), pixel_mm))
    (ours, theirs), (our_counts, their_counts) = quantiles.chunk(2), counts.chunk(2)
    shown = ((our_counts > 0) & (their_counts > 0)).to(ours.dtype)
    distance = (ours - theirs).abs().mean(-1)  # [B, L]
    return (distance * shown).sum() / shown.sum().clamp(min=1)


def depth_loss(
    translated: Image, body: Image, real: Image, real_body: Image, pixel_mm: PixelSize
) -> Scalar:
    """Return the mean squared distance from the real slice's mean value at the same depth.

    Partners change with every step, so the expected loss is smallest at the mean of their
    population as a function of depth (and of height, with `data.partner` position). That is a
    starting point which is neither the input nor noise. It has no anatomy: with a lasting weight,
    images stay smooth.

    Args:
        translated: Translated slices in [-1, 1].
        body: Body masks of their sources, 0 or 1.
        real: Real slices of the new domain in [-1, 1].
        real_body: Body masks of the real slices, 0 or 1.
        pixel_mm: Size of a pixel, of both.

    Examples:
        >>> body, translated = torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
        >>> depth_loss(translated, body, translated + 0.5, body, (1, 1))
        tensor(0.2500)
    """
    masks, theirs = (layers(mask, pixel_mm, FINE_ENDS_MM) for mask in (body, real_body))
    counts = theirs.sum((-2, -1))
    means = (at_least_fp32(real) * theirs).sum((-2, -1)) / counts.clamp(min=1)  # [B, L]
    masks = masks * (counts > 0)[..., None, None]
    usual = (masks * means[..., None, None]).sum(1, keepdim=True)
    seen = masks.sum(1, keepdim=True)
    error = (at_least_fp32(translated) - usual).square() * seen
    return error.sum() / seen.sum().clamp(min=1)


def layers(
    body: Image, pixel_mm: PixelSize, ends_mm: tuple[float, ...] = LAYER_ENDS_MM
) -> Float[Tensor, "B L H W"]:
    """Divide the body into layers from its surface inwards; the image's border is no surface.

    Depth is the chessboard distance, which can be computed by maxima over squares on any device.

    Args:
        body: Body mask, 0 or 1.
        pixel_mm: Size of a pixel.
        ends_mm: Depths at which layers end, increasing; each is rounded to pixels, at least one.

    Returns:
        Masks of 0 and 1, one more than `ends_mm`.
    """
    mask = at_least_fp32(body)
    deeper = [mask]
    for end_mm in ends_mm:
        high, wide = (max(1, round(end_mm / mm)) for mm in pixel_mm)
        # Maximum over rows, then over columns: far fewer comparisons than over a square.
        rows = F.max_pool2d(1 - mask, (1, 2 * wide + 1), stride=1, padding=(0, wide))
        deeper.append(1 - F.max_pool2d(rows, (2 * high + 1, 1), stride=1, padding=(high, 0)))
    deeper.append(torch.zeros_like(mask))
    return torch.cat([a - b for a, b in pairwise(deeper)], dim=1)


def layer_quantiles(
    image: Image, masks: Float[Tensor, "B L H W"]
) -> tuple[Float[Tensor, "B L Q"], Float[Tensor, "B L"]]:
    """Return evenly spaced quantiles of an image inside each mask, and the masks' pixel counts.

    Each image is sorted once, whatever the number of masks.

    Args:
        image: Any image.
        masks: Disjoint masks of 0 and 1; the quantiles of an empty one mean nothing.
    """
    counts = masks.sum((-2, -1))
    shares = (torch.arange(NUM_QUANTILES, device=image.device) + 0.5) / NUM_QUANTILES
    ranks = (shares * counts[..., None]).int()
    pixels = image.flatten(1)  # [B, H x W]
    order = pixels.detach().argsort(stable=True)[:, None].expand(-1, masks.shape[1], -1)
    # How many pixels of a layer are no larger; rank r is where r + 1 is first reached.
    seen = masks.flatten(2).gather(-1, order).cumsum(-1, dtype=torch.int32)
    places = torch.searchsorted(seen, ranks + 1).clamp(max=pixels.shape[-1] - 1)
    chosen = order.gather(-1, places)
    return pixels.gather(-1, chosen.flatten(1)).unflatten(1, ranks.shape[1:]), counts
