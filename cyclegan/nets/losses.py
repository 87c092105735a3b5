"""Generator and discriminator losses: pure functions of tensors, without module, config or device.

Axes: B batch, H rows, W columns, S scales and P Q patch grid of the discriminator.
Images are normalised to [-1, 1]; one unit of CT is half the HU window (`mrct.imaging.intensity`).
"""

from math import exp

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.nets.norm import at_least_fp32

Image = Float[Tensor, "B 1 H W"]
Scores = Float[Tensor, "B S P Q"]
Scalar = Float[Tensor, ""]

SOFTNESS = 0.05
"""Width of the soft body mask's edge in network units: about 100 HU from air to body."""

GAUSSIAN = tuple(
    exp(-((offset / 1.5) ** 2) / 2) / sum(exp(-((each / 1.5) ** 2) / 2) for each in range(-5, 6))
    for offset in range(-5, 6)
)
"""Line of the SSIM window: a Gaussian of 1.5 pixels over 11, which sums to 1."""


def adversarial_loss(fake_scores: Scores) -> Scalar:
    """Return the generators' least-squares GAN loss (Mao 2017, eq. 2; Zhu 2017, 7.1).

    Args:
        fake_scores: Logits of the discriminator for fakes; the loss is 0 where they are 1.

    Examples:
        >>> adversarial_loss(torch.zeros(2, 1, 6, 6))
        tensor(1.)
    """
    return F.mse_loss(fake_scores, torch.ones_like(fake_scores))


def discriminator_loss(real_scores: Scores, fake_scores: Scores) -> Scalar:
    """Return the discriminator's least-squares GAN loss: real towards 1, fake towards 0.

    It is halved to slow the discriminator relative to the generators (Zhu 2017, 7.1).

    Args:
        real_scores: Logits for real images.
        fake_scores: Logits for fakes.

    Examples:
        >>> discriminator_loss(torch.full((2, 1, 6, 6), 0.5), torch.full((2, 1, 6, 6), 0.5))
        tensor(0.2500)
    """
    real = F.mse_loss(real_scores, torch.ones_like(real_scores))
    fake = F.mse_loss(fake_scores, torch.zeros_like(fake_scores))
    return 0.5 * (real + fake)


def round_trip_loss(original: Image, returned: Image) -> Scalar:
    """Return the mean absolute error between an image and itself after MRI -> CT -> MRI or reverse.

    The unit is that of the images: with a CT window of [-1024, 3071] HU, 0.01 is 20 HU. L1 is used
    instead of L2 because L2 blurs thin cortical bone.

    Args:
        original: Real image in [-1, 1].
        returned: The image after the cycle, in [-1, 1].

    Examples:
        >>> original = torch.zeros(2, 1, 64, 64)
        >>> round_trip_loss(original, original + 0.01)
        tensor(0.0100)
    """
    return F.l1_loss(returned, original)


def identity_loss(original: Image, same: Image) -> Scalar:
    """Return the mean absolute change of an image by the generator of its own domain.

    Args:
        original: Real image in [-1, 1].
        same: Output of the generator into the image's own domain, in [-1, 1].
    """
    return F.l1_loss(same, original)


def trusted_loss(original: Image, translated: Image, trust: Image) -> Scalar:
    """Return the mean absolute error times the trust in each pixel.

    The mean is over all pixels, those of no trust too, so that a batch in parts has that of the
    whole.

    Args:
        original: What the translated image should be, in [-1, 1].
        translated: Translated image in [-1, 1].
        trust: Weight of each pixel, 0 or more.

    Examples:
        >>> image = torch.zeros(1, 1, 2, 2)
        >>> trust = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[None, None]
        >>> trusted_loss(image, image + 0.1, trust)
        tensor(0.0250)
    """
    return ((translated - original).abs() * trust).mean()


def structural_loss(original: Image, returned: Image) -> Scalar:
    """Return 1 - SSIM of two images, in [0, 2].

    SSIM is Wang 2004, eq. 13: 11 x 11 Gaussian of 1.5 pixels, K1 .01, K2 .03, data range 2. It is
    computed at least in fp32, regardless of autocast and without TF32: in bf16 identical images
    score 0.996, and in fp16 it can overflow.

    Args:
        original: Real image in [-1, 1]; H and W are at least 11.
        returned: The image after the cycle, in [-1, 1].

    Examples:
        >>> dark, bright = torch.full((1, 1, 16, 16), -1.0), torch.full((1, 1, 16, 16), 1.0)
        >>> structural_loss(dark, bright)  # the means differ most, the textures not at all
        tensor(1.9996)
    """
    x, y = at_least_fp32(original), at_least_fp32(returned)
    moments = window_means(torch.cat([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, xx, yy, xy = moments.chunk(5)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    covariance = xy - mean_x * mean_y
    variances = (xx - mean_x**2) + (yy - mean_y**2)
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    )
    return 1 - similarity.mean()


def gradient_difference_loss(original: Image, returned: Image) -> Scalar:
    """Return the mean difference of absolute gradients along rows plus that along columns.

    Mathieu 2016 (eq. 6, alpha 1), as a mean instead of a sum. It keeps edges sharp that L1 alone
    blurs; Nie 2017 (eq. 5) uses it for CT from MRI.

    Args:
        original: Real image in [-1, 1]; H and W are at least 2.
        returned: The image after the cycle, in [-1, 1].

    Examples:
        >>> edge = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]
        >>> gradient_difference_loss(edge, torch.zeros(1, 1, 2, 2))
        tensor(1.)
    """
    x, y = at_least_fp32(original), at_least_fp32(returned)
    down = F.l1_loss(y.diff(dim=-2).abs(), x.diff(dim=-2).abs())
    across = F.l1_loss(y.diff(dim=-1).abs(), x.diff(dim=-1).abs())
    return down + across


def shape_loss(body: Image, translated: Image, air: float) -> Scalar:
    """Return the mean absolute difference between a body mask and the body of a translated image.

    Shape consistency for MR to CT is from Ge 2019, the distance from MaskGAN (Phan 2023). The soft
    mask of the translated image is a sigmoid of (value - air) / SOFTNESS, so that it has a
    gradient. Air inside the body counts as a difference.

    Args:
        body: Body mask of the source, 0 or 1.
        translated: Translated image in [-1, 1].
        air: Value half-way between air and body, in [-1, 1].

    Examples:
        >>> shape_loss(torch.ones(1, 1, 16, 16), torch.full((1, 1, 16, 16), -1.0), air=-0.7)
        tensor(0.9975)
    """
    shown = torch.sigmoid((at_least_fp32(translated) - air) / SOFTNESS)
    return F.l1_loss(shown, at_least_fp32(body))


def window_means(images: Image) -> Float[Tensor, "B 1 H2 W2"]:
    """Return the means under the SSIM window of Wang 2004 at every place that it fits in.

    The window is separable, and applied by shifted sums instead of convolutions: those may be
    computed in TF32 on a GPU, whose error exceeds small variances.
    """
    for dim in (-2, -1):
        length = images.shape[dim] - len(GAUSSIAN) + 1
        means = GAUSSIAN[0] * images.narrow(dim, 0, length)
        for start, weight in enumerate(GAUSSIAN[1:], 1):
            means = means.add(images.narrow(dim, start, length), alpha=weight)
        images = means
    return images
