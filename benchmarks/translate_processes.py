"""Claim: `translate --processes 2` is faster than one process on a folder of scans.

Both sides are the whole command, with its start, on the same files and the same cores: a folder of
heads on a grid of their own, and the network of the preset `demo` with weights at random. They take
turns, `--rounds` times, and the results must be equal to the bit.
Run it: python -m benchmarks.translate_processes [--heads 12] [--processes 2]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cyclegan.config.presets import demo
from cyclegan.nets.generator import Generator
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import write_nifti
from mrct.progress import QUIET_VARIABLE
from tests.support.models import publish_model
from tests.support.stores import random_head

SHAPE = (60, 192, 192)
SPEC = PreprocessingSpec(spacing_mm=(3.0, 2.4, 2.4), size=(104, 96))


def write_heads(folder: Path, count: int) -> Path:
    """Write heads that differ, with voxels of 1.2 x 1.2 x 3 mm."""
    folder.mkdir()
    affine = np.diag([-1.2, -1.2, 3.0, 1.0])
    for number in range(count):
        voxels = random_head(np.random.default_rng(number), SHAPE)["mri"]
        write_nifti(folder / f"{number:03}.nii.gz", voxels, affine)
    return folder


def translate_s(model: Path, heads: Path, out: Path, processes: int) -> float:
    """Return the seconds of the command."""
    arguments = f"-m cyclegan.translate {model} {heads} --out {out} --processes {processes}"
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments.split()],
        check=True,
        env=os.environ | {QUIET_VARIABLE: "1"},
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    """Measure both sides in turns, compare the results, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = demo().generator
    network = Generator(filters=config.filters, blocks=config.blocks, upsample=config.upsample)
    seconds: dict[int, list[float]] = {1: [], arguments.processes: []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, heads = publish_model(root / "model", network, SPEC), root / "heads"
        write_heads(heads, arguments.heads)
        for turn in range(arguments.rounds):
            for processes, taken in seconds.items():
                out = root / f"out-{processes}-{turn}"
                taken.append(translate_s(model, heads, out, processes))
                print(f"{processes} process(es): {taken[-1]:.1f} s", flush=True)
        one, many = (root / f"out-{processes}-0" for processes in seconds)
        for path in one.glob("*.nii.gz"):
            assert path.read_bytes() == (many / path.name).read_bytes(), f"{path.name} differs"
    before, after = (statistics.median(taken) for taken in seconds.values())
    print(
        f"{arguments.heads} heads of {SHAPE}, {len(os.sched_getaffinity(0))} cores, load "
        f"{os.getloadavg()[0]:.1f}: 1 process {before:.1f} s, {arguments.processes} processes "
        f"{after:.1f} s, {before / after:.2f} times as fast, results equal"
    )


if __name__ == "__main__":
    main()
