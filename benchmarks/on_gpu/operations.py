"""Single operations on a GPU: what it can reach, and what layouts and precisions do to it."""

import torch
import torch.nn.functional as F

from benchmarks.on_gpu.bench import LAYOUTS, Bench
from cyclegan.nets import norm
from cyclegan.nets.discriminator import Discriminator
from cyclegan.nets.losses import structural_loss


def ceilings(bench: Bench) -> str:
    """The fastest product of matrices and the fastest copy."""
    side = 512 if bench.small else 8192
    a, b = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    matmul_ms, _ = bench.milliseconds(lambda: a @ b)
    source = torch.empty(1 << (20 if bench.small else 31), dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    copy_ms, _ = bench.milliseconds(lambda: target.copy_(source))
    return (
        f"torch {torch.__version__}; bf16 matmul {2 * side**3 / matmul_ms / 1e9:.0f} TFLOP/s; "
        f"copy {2 * source.numel() / copy_ms / 1e9:.2f} TB/s"
    )


def ssim_and_tf32(bench: Bench) -> str:
    """The SSIM loss of a noisy image in fp64, and in fp32 without and with TF32."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 1, bench.size, bench.size, generator=generator) * 2 - 1
    image = F.avg_pool2d(noise, 5, 1, 2)
    noisy = (image + 0.01 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    image, noisy = image.to(bench.device), noisy.to(bench.device)
    entries = [f"fp64 {float(structural_loss(image.double(), noisy.double())):.5f}"]
    for allowed in (False, True):
        torch.backends.cudnn.allow_tf32 = allowed
        entries.append(f"allow_tf32={allowed} {float(structural_loss(image, noisy)):.5f}")
    return ", ".join(entries)


def spectral_norm(bench: Bench) -> str:
    """Whether autocast changes the largest singular value that a discriminator's layer is divided
    by."""
    torch.manual_seed(0)
    discriminator = Discriminator(in_channels=3, filters=bench.filters, norm="none", spectral=True)
    discriminator.to(bench.device).eval()
    sigmas = []
    for autocast in (False, True):
        with torch.no_grad(), torch.autocast(bench.device.type, torch.bfloat16, enabled=autocast):
            layer = discriminator.layers[2]
            original = layer.parametrizations.weight.original
            sigmas.append(float((original / layer.weight).mean()))
    return (
        f"sigma of the second layer: fp32 {sigmas[0]:.6f}, under bf16 autocast {sigmas[1]:.6f} "
        f"({abs(sigmas[1] / sigmas[0] - 1):.1e})"
    )


def norms(bench: Bench) -> str:
    """Instance norm, written in four ways."""
    side, channels = bench.size // 4, 4 * bench.filters
    images = torch.randn(4, channels, side, side, device=bench.device, dtype=bench.half)
    last = images.contiguous(memory_format=torch.channels_last)
    ways = {
        "F.instance_norm NCHW": lambda: F.instance_norm(images),
        "same, channels_last (what eager does on a GPU)": lambda: F.instance_norm(last),
        "image by image, channels_last": lambda: norm.image_by_image(last),
        "written out, channels_last": lambda: norm.over_pixels(last),
    }
    return "; ".join(f"{name} {bench.milliseconds(way)[0]:.3f} ms" for name, way in ways.items())


def convolutions(bench: Bench) -> str:
    """TFLOP/s of the generator's convolutions, by layout and padding of their channels."""
    filters, side = bench.filters, bench.size
    inner = side // 4 + 2
    kinds = {  # images, channels in and out, kernel, rows and columns
        "res 256-256": (4, 4 * filters, 4 * filters, 3, inner),
        "res, 16 images": (16, 4 * filters, 4 * filters, 3, inner),
        "first 3-64": (4, 3, filters, 7, side + 6),
        "first, padded to 8": (4, 8, filters, 7, side + 6),
        "last 64-1": (4, filters, 1, 7, side + 6),
        "last, padded to 8": (4, filters, 8, 7, side + 6),
        "up 128-64": (4, 2 * filters, filters, 3, side + 2),
    }
    entries = []
    for name, (images, channels, out, kernel, pixels) in kinds.items():
        for last, layout in LAYOUTS.items():

            def tensor(*shape: int, layout: torch.memory_format = layout) -> torch.Tensor:
                made = torch.randn(shape, device=bench.device, dtype=bench.half)
                return made.contiguous(memory_format=layout).requires_grad_()

            image = tensor(images, channels, pixels, pixels)
            weight = tensor(out, channels, kernel, kernel)
            forward, backward = _forward_and_backward_ms(bench, image, weight)
            convolved = (pixels - kernel + 1) ** 2 * images * out
            gflop = 2 * convolved * channels * kernel**2 / 1e9
            entries.append(
                f"{name} {'NHWC' if last == 'yes' else 'NCHW'} fwd {gflop / forward:.0f}, "
                f"bwd {2 * gflop / backward:.0f} TFLOP/s"
            )
    return "\n     " + "\n     ".join(entries)


def _forward_and_backward_ms(
    bench: Bench, image: torch.Tensor, weight: torch.Tensor
) -> tuple[float, float]:
    upstream = torch.randn_like(F.conv2d(image, weight))
    forward_ms, _ = bench.milliseconds(lambda: F.conv2d(image, weight))
    both_ms, _ = bench.milliseconds(
        lambda: torch.autograd.grad(F.conv2d(image, weight), (image, weight), upstream)
    )
    return forward_ms, max(both_ms - forward_ms, 1e-6)
