"""Claim: a training step outruns the reference recipe as it is usually written, and is the same.

Usual: eager, six generator passes one by one, as in Zhu 2017's code. Both sides have the networks
of the preset `reference`, the same weights and the same batch, and take turns in one run. Precision
(fp32 to bf16) and engineering (the rest) are measured separately. Run it: python -m benchmarks.step
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stepping.gradients import TOLERANCE, differences
from benchmarks.stepping.sides import StepSide, batch_of, engine_side, to_fp64, usual_side
from cyclegan.config.config import Config
from cyclegan.config.presets import reference


def machine() -> str:
    """Threads, and what the processor has for bf16: the precision's share depends on it."""
    flags = Path("/proc/cpuinfo").read_text()
    has = [name for name in ("avx512_bf16", "amx_bf16") if name in flags] or ["no bf16"]
    return f"{torch.get_num_threads()} threads, {', '.join(has)}"


def convolution_tflops() -> float:
    """The fastest convolution that most of the step consists of: 256-256 3x3 at 64 x 64 in bf16."""
    layout = torch.channels_last
    image = torch.randn(1, 256, 66, 66).bfloat16().contiguous(memory_format=layout)
    weight = torch.randn(256, 256, 3, 3).bfloat16().contiguous(memory_format=layout)
    times_s = []
    for _ in range(20):
        started = time.perf_counter()
        F.conv2d(image, weight)
        times_s.append(time.perf_counter() - started)
    return 2 * 256 * 256 * 9 * 64 * 64 / min(times_s) / 1e12


def arithmetic_tflop(config: Config, size: int) -> float:
    """Convolutions of one step, forward and backward, as torch counts them."""
    side, batch = usual_side(config, size), batch_of(0, size)
    with FlopCounterMode(display=False) as counter:
        side.step(batch)
    return counter.get_total_flops() / 1e12


def time_steps(sides: dict[str, StepSide], size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step of each side, in turns, so that a busy machine slows all; and TFLOP/s."""
    times_s: dict[str, list[float]] = {name: [] for name in (*sides, "convolution_tflops")}
    for number in range(rounds):
        batch = batch_of(number, size)
        for name, side in sides.items():
            started = time.perf_counter()
            side.step(batch)
            times_s[name].append(time.perf_counter() - started)
        times_s["convolution_tflops"].append(convolution_tflops())
    return times_s


def main() -> None:
    """Measure, compare, print, and keep all numbers where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--filters", type=int, default=64, help="of all networks' first layers")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument(
        "--steps",
        type=int,
        nargs="*",
        default=[0, 50, 200],
        help="gradients are compared at; none: only time",
    )
    parser.add_argument("--compile", choices=["no", "blocks", "all"], default="blocks")
    parser.add_argument("--channels-last", choices=["yes", "no"], default="yes")
    parser.add_argument("--small", action="store_true", help="a quick look: 64 pixels, 16 filters")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    if options.small:
        options.size, options.filters, options.rounds, options.steps = 64, 16, 3, [0, 5]
    base = reference()
    base = replace(
        base,
        generator=replace(base.generator, filters=options.filters),
        discriminator=replace(base.discriminator, filters=options.filters),
    )

    def config(precision: str, **engine: Any) -> Config:
        # Without a pool: a replayed fake is another image, which the usual side would have to share
        train = replace(base.train, precision=precision, pool_size=0, **engine)
        return replace(base, train=train)

    plain = {"compile": "no", "channels_last": "no"}
    engine = {"compile": options.compile, "channels_last": options.channels_last}
    sides = {
        f"{name} {precision}": make(config(precision, **how), options.size)
        for precision in ("fp32", "bf16")
        for name, make, how in (("usual", usual_side, plain), ("ours", engine_side, engine))
    }
    tflop = arithmetic_tflop(config("fp32", **plain), options.size)
    compared = []
    if options.steps:
        exact = {"usual fp64": to_fp64(usual_side(config("fp32", **plain), options.size))}
        exact["ours fp64"] = to_fp64(engine_side(config("fp32", **engine), options.size))
        compared = differences(sides | exact, options.size, sorted(options.steps))
    time_steps(sides, options.size, 1)  # compiles and warms up
    times_s = time_steps(sides, options.size, options.rounds)
    report(options, tflop, compared, times_s)


def report(
    options: argparse.Namespace,
    tflop: float,
    compared: list[dict[str, Any]],
    times_s: dict[str, list[float]],
) -> None:
    """Print the medians and the ratios round by round."""
    seconds = {name: np.array(values) for name, values in times_s.items()}
    tflops = seconds.pop("convolution_tflops")
    ratios = {
        "in all: usual fp32 / ours bf16": seconds["usual fp32"] / seconds["ours bf16"],
        "of it precision: usual fp32 / usual bf16": seconds["usual fp32"] / seconds["usual bf16"],
        "of it engineering: usual bf16 / ours bf16": seconds["usual bf16"] / seconds["ours bf16"],
        "engineering in fp32: usual / ours": seconds["usual fp32"] / seconds["ours fp32"],
        "share of the convolution limit": tflop / tflops.max() / seconds["ours bf16"],
    }
    print(
        f"{options.size} x {options.size}, {options.filters} filters, batch 1, {machine()}, "
        f"compile {options.compile}, channels_last {options.channels_last}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(f"{tflop:.3f} TFLOP a step; convolutions reach {tflops.max():.2f} TFLOP/s here")
    print(f"median (lowest to highest) of {options.rounds} rounds in turns:")
    for name, values in (*seconds.items(), *ratios.items()):
        unit = "s" if name in seconds else ""
        print(
            f"  {name:44}{median(values):7.2f} {unit:1} ({values.min():.2f} to {values.max():.2f})"
        )
    if compared:
        tell_differences(compared)
    if options.json:
        numbers = {
            "options": {name: str(value) for name, value in vars(options).items()},
            "machine": machine(),
            "load": os.getloadavg()[0],
            "tflop": tflop,
            "convolution_tflops": tflops.tolist(),
            "step_s": {name: values.tolist() for name, values in seconds.items()},
            "ratios": {name: median(values) for name, values in ratios.items()},
            "gradients": compared,
        }
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


def tell_differences(compared: list[dict[str, Any]]) -> None:
    """How far the gradients lie apart."""
    print("gradients of all weights against the usual step in fp64, relative difference (L2):")
    names = ["ours fp64", "usual fp32", "ours fp32", "usual bf16", "ours bf16"]
    print(f"  {'':20}" + "".join(f"{name:>12}" for name in names))
    for row in compared:
        label = f"step {row['step']}, {row['networks']}"
        print(f"  {label:20}" + "".join(f"{row[name]:12.1e}" for name in names))
    wrong = [row for row in compared if row["ours fp64"] > TOLERANCE]
    print(f"ours is {'NOT ' if wrong else ''}the usual step to {TOLERANCE:g} in fp64")


if __name__ == "__main__":
    main()
