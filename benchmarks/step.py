"""Claim: a training step outruns the reference recipe as it is usually written, and is the same.

Usual: eager, six generator passes one by one, as in Zhu 2017's code. Both sides have the networks
of the preset `reference`, the same weights and the same batch, and take turns in one run. Precision
(fp32 to bf16) and engineering (the rest) are told apart. Run it: python -m benchmarks.step
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cyclegan.config import Config
from cyclegan.data.batch import Batch
from cyclegan.presets import reference
from cyclegan.train.placement import arithmetic, memory_format, place
from cyclegan.train.state import TrainState, build_state
from cyclegan.train.step import train_step
from cyclegan.train.workers import Worker
from data_prep.intensity import WINDOW_HU, normalise
from tests.stores import random_head

CPU = torch.device("cpu")
TOLERANCE = 1e-6
"""Relative difference of all gradients of a pair of networks in fp64, in the L2 norm."""
Step = Callable[[Batch], None]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to run the recipe: its weights, and what does a step with them."""

    state: TrainState
    step: Step


def usual(config: Config, size: int) -> Side:
    """The recipe pass by pass; its weights get their gradients and one update."""
    state = fresh(config, size)
    to_ct, to_mri = state.translators.to_ct, state.translators.to_mri
    dtype = arithmetic(config.train.precision, CPU)
    loss = config.loss

    def step(batch: Batch) -> None:
        mri, ct = batch.mri, batch.ct
        state.critics.requires_grad_(False)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            fake_ct, fake_mri = to_ct(mri), to_mri(ct)
            returned_mri, returned_ct = to_mri(fake_ct), to_ct(fake_mri)
            same_mri, same_ct = to_mri(mri), to_ct(ct)
            scores = state.critics.ct(fake_ct), state.critics.mri(fake_mri)
        cycle = F.l1_loss(returned_mri, mri) + F.l1_loss(returned_ct, ct)
        identity = F.l1_loss(same_mri, mri) + F.l1_loss(same_ct, ct)
        fooled = sum(F.mse_loss(score, torch.ones_like(score)) for score in scores)
        total = fooled + loss.cycle_weight * cycle + loss.identity_weight * identity
        descend(state.translator_optimizer, total)
        state.critics.requires_grad_(True)
        fakes = ((state.critics.ct, ct, fake_ct), (state.critics.mri, mri, fake_mri))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            judged = [(critic(real), critic(fake.detach())) for critic, real, fake in fakes]
        total = sum(
            0.5
            * (F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake)))
            for real, fake in judged
        )
        descend(state.critic_optimizer, total)

    return Side(state=state, step=step)


def doubled(side: Side) -> Side:
    """The same in fp64."""
    for network in (side.state.translators, side.state.critics, side.state.mean):
        network.double()
    return side


def descend(optimizer: torch.optim.Optimizer, loss: Any) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def ours(config: Config, size: int) -> Side:
    """The same recipe through the training engine."""
    state = fresh(config, size)
    engine = place(state, config, Worker(), print)

    def step(batch: Batch) -> None:
        train_step(state, engine, batch, config.loss, 0.0)

    return Side(state=state, step=step)


def fresh(config: Config, size: int) -> TrainState:
    layout = memory_format(config.train.channels_last, CPU)
    return build_state(config, size=(size, size), shards=range(1), device=CPU, layout=layout)


def batch_of(number: int, size: int) -> Batch:
    """One slice of each domain of a random head."""
    random = np.random.default_rng(number)
    (mri, body), (ct, other) = (
        (head[name], head["body"])
        for name, head in ((n, random_head(random, (3, size, size))) for n in ("mri", "ct"))
    )

    def image(values: Any, window: tuple[float, float]) -> Tensor:
        return torch.from_numpy(normalise(values[1].astype(np.float32), window))[None, None]

    masks = (torch.from_numpy(mask[1].astype(np.float32))[None, None] for mask in (body, other))
    mri_body, ct_body = masks
    window = (0.0, float(np.percentile(mri, 99.5)))
    return Batch(
        mri=image(mri, window), ct=image(ct, WINDOW_HU), mri_body=mri_body, ct_body=ct_body
    )


def differences(sides: dict[str, Side], size: int, steps: list[int]) -> list[dict[str, Any]]:
    """Train ours in bf16; at the given steps compare all gradients from its weights.

    The truth is the usual side in fp64. A ReLU near 0 turns rounding into a step of its gradient,
    so a lower precision keeps to the truth by the root of its rounding only, on either side.
    """
    trained, rows = sides["ours bf16"], []
    for number in range(steps[-1] + 1):
        batch = batch_of(number, size)
        if number not in steps:
            trained.step(batch)
            continue
        weights = {name: copy.deepcopy(network.state_dict()) for name, network in pairs(trained)}
        found = {name: gradients(side, weights, batch) for name, side in sides.items()}
        for network, truth in found.pop("usual fp64").items():
            errors = {
                name: ((each[network] - truth).norm() / truth.norm()).item()
                for name, each in found.items()
            }
            rows.append({"step": number, "networks": network} | errors)
    return rows


def pairs(side: Side) -> list[tuple[str, nn.Module]]:
    return [("translators", side.state.translators), ("critics", side.state.critics)]


def gradients(side: Side, weights: dict[str, Any], batch: Batch) -> dict[str, Tensor]:
    """Of one step from the given weights; all of a pair of networks together.

    Not one by one: a bias before an InstanceNorm has no gradient but rounding.
    """
    for name, network in pairs(side):
        network.load_state_dict(weights[name])
    dtype = next(side.state.translators.parameters()).dtype
    side.step(Batch(**{each.name: getattr(batch, each.name).to(dtype) for each in fields(batch)}))
    return {
        name: torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        for name, network in pairs(side)
    }


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
    side, batch = usual(config, size), batch_of(0, size)
    with FlopCounterMode(display=False) as counter:
        side.step(batch)
    return counter.get_total_flops() / 1e12


def timed(sides: dict[str, Side], size: int, rounds: int) -> dict[str, list[float]]:
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
    parser.add_argument("--steps", type=int, nargs="*", default=[0, 50, 200], help="compared at")
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
        critic=replace(base.critic, filters=options.filters),
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
        for name, make, how in (("usual", usual, plain), ("ours", ours, engine))
    }
    exact = {"usual fp64": doubled(usual(config("fp32", **plain), options.size))}
    exact["ours fp64"] = doubled(ours(config("fp32", **engine), options.size))
    tflop = arithmetic_tflop(config("fp32", **plain), options.size)
    compared = differences(sides | exact, options.size, sorted(options.steps))  # and warms up
    times_s = timed(sides, options.size, options.rounds)
    report(options, tflop, compared, times_s)


def report(
    options: argparse.Namespace,
    tflop: float,
    compared: list[dict[str, Any]],
    times_s: dict[str, list[float]],
) -> None:
    """Print the medians, the ratios round by round, and how far the gradients lie apart."""
    seconds = {name: np.array(values) for name, values in times_s.items()}
    tflops = seconds.pop("convolution_tflops")
    ratios = {
        "in all: usual fp32 / ours bf16": seconds["usual fp32"] / seconds["ours bf16"],
        "of it precision: usual fp32 / usual bf16": seconds["usual fp32"] / seconds["usual bf16"],
        "of it engineering: usual bf16 / ours bf16": seconds["usual bf16"] / seconds["ours bf16"],
        "engineering in fp32: usual / ours": seconds["usual fp32"] / seconds["ours fp32"],
        "share of the convolution limit": tflop / tflops.max() / seconds["ours bf16"],
    }
    cores = torch.get_num_threads()
    print(
        f"{options.size} x {options.size}, {options.filters} filters, batch 1, {cores} threads, "
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
    print("gradients of all weights against the usual step in fp64, relative difference (L2):")
    names = ["ours fp64", "usual fp32", "ours fp32", "usual bf16", "ours bf16"]
    print(f"  {'':20}" + "".join(f"{name:>12}" for name in names))
    for row in compared:
        label = f"step {row['step']}, {row['networks']}"
        print(f"  {label:20}" + "".join(f"{row[name]:12.1e}" for name in names))
    wrong = [row for row in compared if row["ours fp64"] > TOLERANCE]
    print(f"ours is {'NOT ' if wrong else ''}the usual step to {TOLERANCE:g} in fp64")
    if options.json:
        numbers = {
            "options": {name: str(value) for name, value in vars(options).items()},
            "threads": cores,
            "load": os.getloadavg()[0],
            "tflop": tflop,
            "convolution_tflops": tflops.tolist(),
            "step_s": {name: values.tolist() for name, values in seconds.items()},
            "ratios": {name: median(values) for name, values in ratios.items()},
            "gradients": compared,
        }
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
