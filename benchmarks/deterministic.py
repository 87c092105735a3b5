"""What the same bits on any number of workers cost: seconds per step of one worker, in one run.

`fast` is one batch on all cores, `accumulate` the same shard by shard, `deterministic` shard by
shard on one thread with gradients kept apart. Run it: python -m benchmarks.deterministic
"""

import os
import time
from dataclasses import replace
from statistics import median

import torch

from cyclegan.config.config import (
    BatchConfig,
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    TrainConfig,
)
from cyclegan.data.batch import Batch
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import build_state
from cyclegan.train.engine.step import train_step

CORES = len(os.sched_getaffinity(0))
SIZE = (64, 64)
ROUNDS = 5
FAST = Config(
    batch=BatchConfig(shards=4, shard_size=1),
    generator=GeneratorConfig(filters=16, blocks=6),
    discriminator=DiscriminatorConfig(filters=32),
    train=TrainConfig(precision="fp32", compile="no"),
)
MODES = {
    "fast": FAST,
    "accumulate": replace(FAST, scale=replace(FAST.scale, accumulate=True)),
    "deterministic": replace(FAST, train=replace(FAST.train, deterministic=True)),
}


def main() -> None:
    """Take turns, so that all modes meet the same neighbours on the machine."""
    images = torch.rand(2, 4, 1, *SIZE) * 2 - 1
    body = torch.ones(4, 1, *SIZE)
    batch = Batch(mri=images[0], ct=images[1], mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))
    placed = {}
    for name, config in MODES.items():
        state = build_state(config, size=SIZE, shards=range(4), device=torch.device("cpu"))
        placed[name] = state, place_networks(state, config, Worker(), print)
    torch.use_deterministic_algorithms(False)
    took: dict[str, list[float]] = {name: [] for name in MODES}
    for number in range(ROUNDS + 1):
        for name, config in MODES.items():
            state, engine = placed[name]
            torch.set_num_threads(1 if config.train.deterministic else CORES)
            began = time.perf_counter()
            train_step(state, engine, batch, config.loss, 0.999)
            if number:  # the first one warms up
                took[name].append(time.perf_counter() - began)
    fast = median(took["fast"])
    print(f"4 shards of one pair, {SIZE[0]} x {SIZE[1]}, 16 filters, fp32 eager, {CORES} cores")
    for name, seconds in took.items():
        print(f"{name:14} {median(seconds):6.2f} s a step   {median(seconds) / fast:5.2f} x")


if __name__ == "__main__":
    main()
