"""Translator and critic losses: pure functions of tensors, with no module, config or device inside.

Axes: B batch, H rows, W columns, S scales and P Q patch grid of the critic.
Images are normalised to [-1, 1]; one unit of CT is half the HU window (`mrct.imaging.intensity`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.nets.norm import at_least_fp32

Image = Float[Tensor, "B 1 H W"]
Scores = Float[Tensor, "B S P Q"]
Scalar = Float[Tensor, ""]

SOFTNESS = 0.05
"""Of the soft body mask, in network units: about 100 HU from air to body."""


def adversarial_loss(fake_scores: Scores) -> Scalar:
    """Least squares distance of fakes from being judged real (Mao 2017, eq. 2; Zhu 2017, 7.1)."""
    return F.mse_loss(fake_scores, torch.ones_like(fake_scores))


def critic_loss(real_scores: Scores, fake_scores: Scores) -> Scalar:
    """Least squares: real towards 1, fake towards 0; halved to slow the critic (Zhu 2017, 7.1)."""
    real = F.mse_loss(real_scores, torch.ones_like(real_scores))
    fake = F.mse_loss(fake_scores, torch.zeros_like(fake_scores))
    return 0.5 * (real + fake)


def round_trip_loss(original: Image, returned: Image) -> Scalar:
    """Mean absolute error between an image and itself after MRI -> CT -> MRI (or the reverse).

    In normalised units: with a CT window of [-1024, 3071] HU, 0.01 means 20 HU. L1 rather than L2
    because L2 blurs the thin cortical bone that CT contrast rests on.
    """
    return F.l1_loss(returned, original)


def identity_loss(original: Image, same: Image) -> Scalar:
    """Mean absolute change of an image that already is in the domain it is translated to."""
    return F.l1_loss(same, original)


def structural_loss(original: Image, returned: Image) -> Scalar:
    """1 - SSIM (Wang 2004, eq. 13: 11 x 11 Gaussian of 1.5 pixels, K1 .01, K2 .03, data range 2).

    Computed in fp32 at least, whatever autocast says: in bf16 identical images score 0.996, in fp16
    it can overflow.
    """
    with torch.autocast(original.device.type, enabled=False):
        x, y = at_least_fp32(original), at_least_fp32(returned)
        window = gaussian_window(y)
        moments = F.conv2d(torch.cat([x, y, x * x, y * y, x * y]), window)
        mean_x, mean_y, xx, yy, xy = moments.chunk(5)
        c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
        covariance = xy - mean_x * mean_y
        variances = (xx - mean_x**2) + (yy - mean_y**2)
        similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (variances + c2)
        )
        return 1 - similarity.mean()


def gradient_difference_loss(original: Image, returned: Image) -> Scalar:
    """Difference of the absolute gradients between neighbouring pixels, along rows and columns.

    Mathieu 2016 (eq. 6, alpha 1), as a mean instead of a sum. It keeps edges sharp that L1 alone
    blurs; Nie 2017 (eq. 5) uses it for CT from MRI.
    """
    x, y = at_least_fp32(original), at_least_fp32(returned)
    down = F.l1_loss(y.diff(dim=-2).abs(), x.diff(dim=-2).abs())
    across = F.l1_loss(y.diff(dim=-1).abs(), x.diff(dim=-1).abs())
    return down + across


def shape_loss(body: Image, translated: Image, air: float) -> Scalar:
    """Mean absolute difference between a body mask and where a translated image shows a body.

    The idea is Ge 2019's (shape consistency for MR to CT), the distance MaskGAN's (Phan 2023). The
    soft mask is a sigmoid of (value - air) / SOFTNESS, so that it has a gradient; `air` is the
    value half way between air and body. Air inside the body counts as a difference.
    """
    shown = torch.sigmoid((at_least_fp32(translated) - air) / SOFTNESS)
    return F.l1_loss(shown, at_least_fp32(body))


def gaussian_window(like: Tensor) -> Float[Tensor, "1 1 11 11"]:
    """Wang 2004's weights, summing to 1, of the type and on the device of `like`."""
    offsets = torch.arange(11, dtype=like.dtype, device=like.device) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    line = line / line.sum()
    return torch.outer(line, line)[None, None]
