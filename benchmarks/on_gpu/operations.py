"""Parts of a step on a GPU: what it can reach, and what layouts and the compiler do to it."""

import time

import torch
import torch.nn.functional as F

from benchmarks.on_gpu.bench import LAYOUTS, PIXEL_MM, Bench, Figures
from cyclegan.nets import norm
from cyclegan.nets.generator import Generator
from cyclegan.nets.input_channels import with_conditions
from cyclegan.nets.network_pairs import Translated
from cyclegan.nets.population_loss import layer_quantiles, layers
from cyclegan.train.engine.objective import generator_terms
from mrct.imaging.modality import MODALITIES

GENERATOR_GFLOP = 337.1
"""Convolutions of one image through one generator of `default`, there and back."""


def ceilings(bench: Bench) -> Figures:
    """The fastest product of matrices and the fastest copy."""
    side = 512 if bench.small else 8192
    a, b = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    matmul_ms, _ = bench.milliseconds(lambda: a @ b)
    source = torch.empty(1 << (20 if bench.small else 31), dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    copy_ms, _ = bench.milliseconds(lambda: target.copy_(source))
    return {
        "matmul_tflops": 2 * side**3 / matmul_ms / 1e9,
        "copy_tb_per_s": 2 * source.numel() / copy_ms / 1e9,
    }


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


def conditions_and_losses(bench: Bench, pairs: int = 2) -> str:
    """The parts of a step beside the networks, eager and compiled."""
    config = bench.config(pairs=pairs)
    batch = bench.batch(config)
    body, device, side = batch.mri_body, bench.device, bench.size
    height = torch.rand(pairs, device=device)
    image = torch.rand(pairs, 1, side, side, device=device)

    def made(channels: int) -> torch.Tensor:
        return torch.rand(pairs, channels, side, side, device=device).requires_grad_()

    images = Translated(
        **{f"fake_{modality}": made(3) for modality in MODALITIES},
        **{
            f"{kind}_{modality}": made(1)
            for kind in ("same", "returned")
            for modality in MODALITIES
        },
    )
    patches = side // 8 - 2
    judged = (pairs, 1, patches, patches)
    scores = tuple(torch.rand(judged, device=device, requires_grad=True) for _ in range(2))
    weights = config.loss.effective_weights
    fast_conditions = torch.compile(with_conditions, dynamic=False)
    fast_terms = torch.compile(generator_terms, dynamic=False)
    ways = {
        "conditions of one domain": lambda: with_conditions(image, body, height, PIXEL_MM),
        "losses, there and back": lambda: generator_terms(batch, images, scores, weights)[
            "loss/generators"
        ].backward(),
        "a sort of population": lambda: layer_quantiles(image, layers(body, PIXEL_MM)),
        "conditions, compiled": lambda: fast_conditions(image, body, height, PIXEL_MM),
        "losses, compiled": lambda: fast_terms(batch, images, scores, weights)[
            "loss/generators"
        ].backward(),
    }
    entries = []
    for name, way in ways.items():
        device_ms, host_ms = bench.milliseconds(way)
        count = bench.launches(way).count
        entries.append(f"{name} {device_ms:.2f} ms device, {host_ms:.2f} ms host, {count} launches")
    return "; ".join(entries)


def generator(bench: Bench, channels_last: str, images: int = 16) -> str:
    """One generator compiled, there and back."""
    torch._dynamo.reset()
    network = Generator(
        in_channels=3, filters=bench.filters, blocks=bench.blocks, upsample="resize"
    ).to(bench.device, memory_format=LAYOUTS[channels_last])
    run = network if bench.small else torch.compile(network, dynamic=False)
    given = torch.rand(images, 3, bench.size, bench.size, device=bench.device)

    def there_and_back() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            translated = run(given)
        translated.float().mean().backward()

    began = time.monotonic()
    there_and_back()
    bench.sync()
    cold_s = time.monotonic() - began
    device_ms, host_ms = bench.milliseconds(there_and_back)
    count = bench.launches(there_and_back).count
    tflops = 0 if bench.small else images * GENERATOR_GFLOP / device_ms
    return (
        f"{images} images there and back {device_ms:.1f} ms = {tflops:.0f} TFLOP/s, "
        f"{host_ms:.1f} ms to launch {count}; "
        f"cold {cold_s:.0f} s"
    )
