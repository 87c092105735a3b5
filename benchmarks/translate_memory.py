"""Claim: `translate` needs a bounded amount of memory for 512 x 512 x 1000 voxels.

The command runs on one such NIfTI file with a small network, once on the default voxels
and once on the file's own (the worst case: nothing gets smaller on the way), and the most memory
that it and its readers hold at one time is taken. Run it: python -m benchmarks.translate_memory
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors.torch import save_file

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES
from cyclegan.export.metadata import Intensity, ModelInfo, write_info
from cyclegan.export.model_folder import CONTENT, publish_folder
from cyclegan.nets.generator import Generator
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import write_nifti
from mrct.storage.atomic import write_atomic

SHAPE, SPACING_MM = (1000, 512, 512), (1.0, 0.5, 0.5)
SPECS = {
    "default voxels, 3 x 1 x 1 mm": PreprocessingSpec(),
    "the file's own, 1 x 0.5 x 0.5 mm": PreprocessingSpec(spacing_mm=SPACING_MM, size=(512, 512)),
}


def make_file(path: Path, num_slices: int) -> None:
    """A column of tissue as int16, a slice at a time."""
    voxels = np.zeros((num_slices, *SHAPE[1:]), np.int16)
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    depth = np.hypot((y - 256) / 200, (x - 256) / 170)
    pattern = np.where(depth < 1, 700 + 300 * np.sin(x / 9) * np.cos(y / 13), 0)
    random = np.random.default_rng(0)
    for z in range(num_slices):
        voxels[z] = np.abs(pattern + random.normal(0, 8, SHAPE[1:]))
    dz, dy, dx = SPACING_MM
    affine = np.diag([-dx, -dy, dz, 1.0])
    write_nifti(path, voxels, affine)


def make_model(folder: Path, spec: PreprocessingSpec) -> None:
    """A small network with weights at random."""
    network = Generator(filters=2, blocks=0, upsample="resize")
    info = ModelInfo(
        direction="to_ct",
        inputs=("mri",),
        intensity=Intensity(mri_contrast="inverted"),
        preprocessing=spec,
        generator=GeneratorConfig(filters=2, blocks=0),
        run="memory",
        config_hash="0" * 64,
        checkpoint="step_00000000",
        store_fingerprint="0" * 16,
        store_contents="0" * 16,
    )

    def fill(partial: Path) -> None:
        for name in CONTENT:
            (partial / name).write_text("not needed")
        save_file(network.state_dict(), partial / FILES["safetensors"])
        write_info(info, partial)

    publish_folder(folder, fill)


def peak_of(words: list[str]) -> tuple[float, float]:
    """GiB that a command and its children hold at most, each page counted once; and seconds."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-m", *words])
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        for each in [watched, *watched.children(recursive=True)]:
            try:
                total += each.memory_full_info().pss
            except psutil.Error:
                continue  # it ended meanwhile
        peak = max(peak, total)
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    return peak / 2**30, time.monotonic() - started


def main() -> None:
    """Measure, print, and keep if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=SHAPE[0])
    parser.add_argument("--json", type=Path, help="keep the figures")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_file(folder / "large.nii", arguments.slices)
        size = (folder / "large.nii").stat().st_size / 2**30
        print(f"{arguments.slices} x 512 x 512 voxels, {size:.2f} GiB as int16")
        for number, (name, spec) in enumerate(SPECS.items()):
            model = folder / f"model{number}"
            make_model(model, spec)
            out = str(folder / f"out{number}")
            words = ["cyclegan.translate", str(model), str(folder / "large.nii"), "--out", out]
            peak, seconds = peak_of(words)
            figures[name] = {"peak_gib": peak, "seconds": seconds}
            print(f"{name:36} {peak:6.1f} GiB at most, {seconds:5.0f} s", flush=True)
    if arguments.json:
        write_atomic(arguments.json, json.dumps(figures).encode())


if __name__ == "__main__":
    main()
