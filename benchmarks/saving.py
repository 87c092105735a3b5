"""Claim: a save holds the training loop for a tenth of the time that writing it takes, or less.

Both sides save the complete state of a preset in one run, in turns: `save_checkpoint`, which
copies, writes, hashes, syncs and commits while the loop waits, and `BackgroundSave`, where it waits
for the copy. The loop's steps are products of matrices on all cores but one, so that what the
thread takes from the steps beside it shows too. Run it: python -m benchmarks.saving
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from cyclegan.config.presets import PRESETS, preset
from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.checkpoint.checkpoint import save_checkpoint, saved_checkpoints
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import TrainState, build_state
from mrct.storage.local_path import LocalPath

CORES = len(os.sched_getaffinity(0))
SIDE = 700
"""Rows of the matrix that a step multiplies."""


def trained_state(name: str, size: int) -> TrainState:
    """A state with all that a checkpoint contains: one update gives Adam its moments."""
    config = preset(name)
    state = build_state(config, size=(size, size), shards=range(1), device=torch.device("cpu"))
    pairs = (
        (state.generators, state.generator_optimizer),
        (state.discriminators, state.discriminator_optimizer),
    )
    for module, optimizer in pairs:
        for weight in module.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        optimizer.zero_grad()
    return state


def step_s(matrix: torch.Tensor) -> float:
    """Seconds of a step, which is as long as any other."""
    started = time.perf_counter()
    torch.mm(matrix, matrix)
    return time.perf_counter() - started


def one_turn(state: TrainState, saving: BackgroundSave) -> dict[str, float]:
    """Seconds that a save of either kind holds the loop, and of a step alone and beside one."""
    state.step += 1
    started = time.perf_counter()
    save_checkpoint(state, saving.run_folder, attempt="a")
    waited_s = time.perf_counter() - started

    matrix = torch.rand(SIDE, SIDE)
    alone_s = median(step_s(matrix) for _ in range(50))
    state.step += 1
    started = time.perf_counter()
    saving.begin(state)
    held_s = time.perf_counter() - started
    beside_s = []
    while saving.committing is not None and not saving.committing.done():
        beside_s.append(step_s(matrix))
    committed_s = time.perf_counter() - started
    return {
        "waited_s": waited_s,
        "held_s": held_s,
        "committed_s": committed_s,
        "alone_s": alone_s,
        "beside_s": median(beside_s),
    }


def main() -> None:
    """Measure in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--turns", type=int, default=5, help="saves of each kind")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    torch.set_num_threads(max(1, CORES - 1))
    state = trained_state(options.preset, options.size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = LocalPath(temporary)
        saving = BackgroundSave(folder, Worker())
        saving.begin(state)  # allocates the memory of the copies, as a run's first save does
        saving.finish()
        turns = []
        for _ in range(options.turns):
            turns.append(one_turn(state, saving))
            bytes_each = sum(saved_checkpoints(folder)[-1].sizes().values())
            for each in saved_checkpoints(folder):
                each.remove()
        saving.close()
    report(options, bytes_each, turns)


def report(options: argparse.Namespace, size: int, turns: list[dict[str, float]]) -> None:
    """Medians, and the ratios turn by turn."""
    middle = {name: 1e3 * median(turn[name] for turn in turns) for name in turns[0]}
    load = os.getloadavg()[0]
    print(f"{options.preset}, {size / 1e6:.0f} MB, {CORES} cores, load {load:.1f}")
    print(f"  a save that the loop waits for   {middle['waited_s']:8.0f} ms")
    print(f"  a save beside it holds the loop  {middle['held_s']:8.0f} ms")
    print(f"  and is committed after           {middle['committed_s']:8.0f} ms")
    ratios = {
        "held by a save beside / waited for one": [t["held_s"] / t["waited_s"] for t in turns],
        "a step beside a save / alone": [t["beside_s"] / t["alone_s"] for t in turns],
    }
    for name, values in ratios.items():
        low, high = 100 * min(values), 100 * max(values)
        print(f"  {name}: {100 * median(values):.1f} % ({low:.1f} to {high:.1f})")
    if options.json:
        numbers = {"bytes": size, "load": load, "turns": turns, "ratios": ratios}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
