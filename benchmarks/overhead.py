"""Claim: Ray Train and DDP take at most 3 % of a worker's speed; and what a second worker is worth.

The same run, in turns: the bare loop in a process of its own on all cores, the same under Ray with
one worker, and with two that share the cores. The speed is the run's own, `speed/step_ms`, without
start and end. Run it: python -m benchmarks.overhead
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from cyclegan.config.config import BatchConfig, Config
from cyclegan.config.files import load_config, resolve, to_yaml
from cyclegan.config.presets import demo
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run.launch import launch
from mrct.ray_session import ray_session
from mrct.storage.local_path import LocalPath
from tests.support.stores import make_store

CORES = len(os.sched_getaffinity(0))
SIDES = {
    "bare": f"bare loop, {CORES} threads",
    "one": f"Ray, 1 worker x {CORES} threads",
    "two": f"Ray, 2 workers x {CORES // 2} threads",
}
LOG_EVERY_STEPS = 5


def config_of(folder: Path, side: str, turn: int, options: argparse.Namespace) -> Config:
    """The same run on every side, but for its workers."""
    base = demo()
    workers = 2 if side == "two" else 1
    return resolve(
        replace(
            base,
            run=replace(base.run, name=f"{side}-{turn}", storage=str(folder)),
            data=replace(base.data, store=str(folder / "s.zarr")),
            batch=BatchConfig(shards=2, shard_size=1),
            generator=replace(base.generator, guide="none"),  # the bare loop has no table
            train=replace(base.train, max_steps=options.steps, compile="no"),
            scale=replace(base.scale, workers=workers, cpus_per_worker=CORES // workers),
            schedule=replace(
                base.schedule,
                log_every=f"{LOG_EVERY_STEPS} steps",
                validate_every="never",
                save_every="never",
            ),
        )
    )


def bare(config: Config) -> None:
    """Run the worker's loop in a process of its own: `--bare CONFIG`."""
    path = Path(config.run.storage) / "bare.yaml"
    path.write_text(to_yaml(config))
    command = [sys.executable, "-m", "benchmarks.overhead", "--bare", str(path)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(CORES)})


def step_times(config: Config) -> list[float]:
    """Milliseconds a step of each log line but the first ones, in which all warms up."""
    lines = read_lines(config.run_folder / METRICS)
    return [line["speed/step_ms"] for line in lines if "speed/step_ms" in line][2:]


def main() -> None:
    """Measure in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96, help="pixels of a slice's side")
    parser.add_argument("--steps", type=int, default=50, help="of each run")
    parser.add_argument("--turns", type=int, default=3, help="runs of each side")
    parser.add_argument("--small", action="store_true", help="a quick look: one turn of 20 steps")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--bare", type=LocalPath, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        torch.set_num_threads(CORES)
        train_worker(load_config(options.bare), Worker())
        return
    if options.small:
        options.turns, options.steps = 1, 20
    times_ms: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as temporary, ray_session(num_cpus=CORES):
        folder = LocalPath(temporary)
        shape = (8, options.size, options.size)
        splits = ("train", "train", "val")
        make_store(folder / "s.zarr", mri=2, ct=2, paired=1, splits=splits, shape=shape)
        for turn in range(options.turns):
            for side in SIDES:
                config = config_of(folder, side, turn, options)
                bare(config) if side == "bare" else launch(config)
                times_ms[side].append(step_times(config))
    report(times_ms, options)


def report(times_ms: dict[str, list[list[float]]], options: argparse.Namespace) -> None:
    """Medians of all lines, and ratios turn by turn."""
    load = os.getloadavg()[0]
    print(f"{options.size} x {options.size}, batch 2, fastest lines of a turn, load {load:.1f}")
    for side, label in SIDES.items():
        every = [ms for turn in times_ms[side] for ms in turn]
        print(f"  {label:30}{median(every):8.1f} ms a step (fastest {min(every):.1f})")
    # The fastest of a turn: what a busy machine adds is nobody's overhead.
    fastest = {side: [min(turn) for turn in times_ms[side]] for side in SIDES}
    ratios: dict[str, Any] = {
        f"speed of '{label}' beside the bare loop": [
            100 * b / o for b, o in zip(fastest["bare"], fastest[side], strict=True)
        ]
        for side, label in SIDES.items()
        if side != "bare"
    }
    for label, values in ratios.items():
        print(f"  {label}: {median(values):.1f} % ({min(values):.1f} to {max(values):.1f})")
    if options.json:
        numbers = {"cores": CORES, "load": load, "step_ms": times_ms, "ratios": ratios}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
