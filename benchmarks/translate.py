"""Claim: `translate`, compiled or by onnxruntime, outruns MONAI's SliceInferer: same network and
volume.

MONAI: `SliceInferer` (whole slices) and `sliding_window_inference` in eager fp32, as its tutorials
have it. Ours: the engine in its ways to run. One volume of 160 x 256 x 256 voxels, the network of
the preset `default` with weights at random; all ways take turns on the same slices. The convolution
limit is the network's arithmetic at the rate of one 3 x 3 convolution of 256 channels, measured
beside. Run it: python -m benchmarks.translate [--slices 160]
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import SliceInferer, sliding_window_inference
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cyclegan.config.presets import default
from cyclegan.export.formats import FILES, OnnxNetwork, write_formats
from cyclegan.inference.slices import translate_volume
from cyclegan.nets.generator import Generator
from cyclegan.train.engine.placement import compute_dtype
from cyclegan.translate.engine import CompiledNetwork, obstacle_to_compiling
from mrct.storage.atomic import write_atomic
from tests.support.stores import random_head

SHAPE = (160, 256, 256)
BATCH = 4
Way = Callable[[Tensor], Tensor]


def volume(num_slices: int) -> Tensor:
    """Slices [Z, 1, 256, 256] of a head, in [-1, 1]."""
    head = random_head(np.random.default_rng(0), (num_slices, *SHAPE[1:]))
    values = head["mri"].astype(np.float32)
    return torch.from_numpy(values / values.max() * 2 - 1)[:, None]


def by_slice_inferer(network: torch.nn.Module) -> Way:
    """MONAI's way to send a volume through a network of slices."""
    inferer = SliceInferer(roi_size=SHAPE[1:], sw_batch_size=BATCH, spatial_dim=0)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = inferer(images.permute(1, 0, 2, 3)[None], network)
        return found[0].permute(1, 0, 2, 3)

    return run


def by_sliding_window(network: torch.nn.Module) -> Way:
    """The same without the wrapper: windows of the whole slice."""

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return sliding_window_inference(images, SHAPE[1:], BATCH, network)

    return run


def by_us(network: Any, precision: str) -> Way:
    """The engine's way."""

    def run(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return translate_volume(network, images, BATCH)

    return run


def convolution_rate(dtype: torch.dtype) -> float:
    """FLOP a second of the convolution that the network has most of, in its faster layout."""
    rates = []
    for layout in (torch.contiguous_format, torch.channels_last):
        layer = torch.nn.Conv2d(256, 256, 3, padding=1, dtype=dtype).to(memory_format=layout)
        images = torch.rand(BATCH, 256, 64, 64, dtype=dtype).to(memory_format=layout)
        with torch.inference_mode():
            layer(images)
            started = time.perf_counter()
            for _ in range(8):
                layer(images)
        flop = 2 * BATCH * 256 * 256 * 9 * 64 * 64 * 8
        rates.append(flop / (time.perf_counter() - started))
    return max(rates)


def main() -> None:
    """Measure, print, and keep if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=SHAPE[0], help="of the volume (160)")
    parser.add_argument("--json", type=Path, help="keep the figures")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = default().generator
    network = Generator(filters=config.filters, blocks=config.blocks, upsample=config.upsample)
    network.eval().requires_grad_(False)
    images = volume(arguments.slices)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(images[:1])
    flop = counter.get_total_flops() * len(images)
    with tempfile.TemporaryDirectory() as folder:
        write_formats(network, 1, Path(folder))
        onnx = OnnxNetwork(Path(folder) / FILES["onnx"])
    ways: dict[str, Way] = {
        "MONAI SliceInferer, eager fp32": by_slice_inferer(network),
        "MONAI sliding_window_inference, eager fp32": by_sliding_window(network),
        "ours, torch fp32": by_us(network, "fp32"),
        "ours, onnxruntime fp32": by_us(onnx, "fp32"),
    }
    has_bf16 = compute_dtype("auto", torch.device("cpu")) == torch.bfloat16
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16 else {})
    if not has_bf16:
        print("no bf16: this processor computes in it by software only, many times slower")
    else:
        ways["ours, torch bf16"] = by_us(network, "bf16")
    if obstacle := obstacle_to_compiling("cpu"):
        print(f"not compiled: {obstacle}")
    else:
        compiled = CompiledNetwork(network, BATCH)
        ways |= {f"ours, torch compiled {kind}": by_us(compiled, kind) for kind in kinds}
    for way in ways.values():
        way(images[:BATCH])  # warm
    seconds: dict[str, float] = {}
    answers: dict[str, Tensor] = {}
    for name, way in ways.items():
        started = time.perf_counter()
        answers[name] = way(images)
        seconds[name] = time.perf_counter() - started
        print(f"{name}: {seconds[name]:.1f} s", flush=True)
    base, reference = next(iter(seconds.values())), next(iter(answers.values()))
    limits = {name: flop / convolution_rate(kind) for name, kind in kinds.items()}
    rows = []
    print(f"{len(images)} slices of 256 x 256, {flop / 1e12:.1f} TFLOP, {os.cpu_count()} cores")
    print(f"{'way':44}{'s':>8}{'ratio':>8}{'of limit':>10}{'mean HU off':>13}{'largest':>9}")
    for name, took in seconds.items():
        off = (answers[name] - reference).abs() * 2047.5
        share = limits[name[-4:]] / took
        rows.append(
            {
                "way": name,
                "seconds": took,
                "ratio": base / took,
                "share_of_limit": share,
                "mean_hu": float(off.mean()),
                "max_hu": float(off.max()),
            }
        )
        print(
            f"{name:44}{took:8.1f}{base / took:8.2f}{share:10.0%}"
            f"{float(off.mean()):13.2f}{float(off.max()):9.1f}"
        )
    if arguments.json:
        write_atomic(arguments.json, json.dumps({"slices": len(images), "rows": rows}).encode())


if __name__ == "__main__":
    main()
