"""What presets reach in the same time, on synthetic heads, beside what needs no training at all.

    python -m benchmarks.quality demo reference "demo --data.mri-contrast plain" --minutes 6

Each argument is a run: a preset, with settings after it. They train one after the other for as many
steps as fit into the time, which a few steps of each tell before. The val pairs judge: training
does not see them. Baselines: 40 HU inside the body, the MRI with the histogram of the train CTs,
the mean HU at each MRI intensity fitted on the other pairs; the floor is the real CT through the
run's grid, on a grid twice as fine.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from cyclegan.config import Config
from cyclegan.config_file import resolve
from cyclegan.infer.pairs import linked_ct
from cyclegan.presets import preset
from cyclegan.scores.baselines import constant_soft_tissue, matched_histogram, regression_of
from cyclegan.scores.metrics import paired_scores
from cyclegan.train.journal import METRICS, read_lines
from cyclegan.train.loop import train_worker
from cyclegan.train.rehearsal import rehearse
from cyclegan.train.validate import train_ct_population, validation_scores
from cyclegan.train.workers import Worker
from data_prep.intensity import normalise
from data_prep.store import Store, open_store

SCORES = {"mae_hu": "MAE HU", "psnr_db": "PSNR dB", "ssim": "SSIM", "bone_dice": "bone Dice"}
GRIDS = {"heads": ("3 2.4 2.4", "96 96"), "fine": ("3 1.2 1.2", "192 192")}
LOOKS = 6
"""Validations of a run, evenly over its steps."""


def stores(folder: Path, pairs: int) -> dict[str, Store]:
    """The same heads on the grid that is trained on and on one twice as fine."""

    def run(words: str) -> None:
        command = [sys.executable, "-m", "data_prep", *shlex.split(words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    if not (folder / "cohort").exists():
        run(f"phantom --out {folder / 'cohort'} --num-val {pairs} --num-test 0")
    for name, (spacing, size) in GRIDS.items():
        manifest = folder / "cohort" / "manifest.csv"
        out = folder / f"{name}.zarr"
        # The same key: volumes have the same names in both.
        key = f"--key-file {folder / 'heads.key'}"
        run(f"convert --manifest {manifest} --out {out} {key} --spacing-mm {spacing} --size {size}")
    return {name: open_store(folder / f"{name}.zarr") for name in GRIDS}


def trained(words: str, store: Store, folder: Path, minutes: float) -> dict[str, Any]:
    """Train one run for its time; its scores over it."""
    name, *settings = shlex.split(words)
    config: Config = tyro.cli(Config, default=preset(name), args=settings)
    config = replace(
        config,
        run=replace(config.run, name=words.replace(" ", "_"), storage=str(folder)),
        data=replace(config.data, store=str(store.path)),
        schedule=replace(config.schedule, validate_volumes=0),
    )
    told = rehearse(resolve(config), store)
    steps = max(LOOKS, int((60 * minutes - told.first_step_s) / told.step_s))
    every = -(-steps // LOOKS)
    config = resolve(
        replace(
            config,
            train=replace(config.train, max_steps=steps),
            schedule=replace(
                config.schedule,
                log_every_steps=max(1, every // 4),
                validate_every_steps=every,
                save_every_steps=0,
            ),
        )
    )
    started = time.monotonic()
    state = train_worker(config, Worker())
    took_s = time.monotonic() - started
    mean = state.mean
    _, picture = validation_scores(mean.to_ct, mean.to_mri, store, config)
    Image.fromarray(picture).save(folder / f"{config.run.name}.png")
    lines = [line for line in read_lines(config.run_folder / METRICS) if "val/mae_hu" in line]
    return {
        "run": words,
        "steps": steps,
        "step_s": told.step_s,
        "minutes": took_s / 60,
        "looks": [
            {"step": line["step"], "minute": line["time_s"] / 60}
            | {score: line[f"val/{score}"] for score in SCORES}
            for line in lines
        ],
    }


def baselines(store: Store) -> dict[str, dict[str, float]]:
    """Means over the val pairs of what needs no network."""
    real_cts = train_ct_population(store)
    pairs = [
        (volume, store.voxels(volume), store.body(volume), real)
        for volume in store.select("mri", "val")
        if (real := linked_ct(store, volume))
    ]
    fits = [
        regression_of(normalise(voxels.astype(np.float32), volume.window), *real)
        for volume, voxels, _, real in pairs
    ]
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number, (volume, voxels, body, real) in enumerate(pairs):
        images = normalise(voxels.astype(np.float32), volume.window)
        made = {
            "constant 40 HU": constant_soft_tissue(body),
            "histogram matching": matched_histogram(voxels, body, real_cts),
        }
        if others := fits[:number] + fits[number + 1 :]:
            made["intensity regression"] = reduce(add, others).predict(images, body)
        for name, hu in made.items():
            found[name].append(paired_scores(hu, *real))
    return {name: mean_of(rows) for name, rows in found.items()}


def floor(stored: dict[str, Store]) -> dict[str, float]:
    """The real CT of the coarse grid, as it looks on the fine one, against the fine one's."""
    coarse, fine = stored["heads"], stored["fine"]
    return mean_of(list(floors(coarse, fine)))


def floors(coarse: Store, fine: Store) -> Iterator[dict[str, float]]:
    """One for each val CT."""
    for volume in coarse.select("ct", "val"):
        other = fine.volumes.named(volume.name)
        assert other is not None, "one key gives one name"
        real, body = fine.voxels(other), fine.body(other).astype(bool)
        hu = seen_on(coarse.voxels(volume), volume.affine, other.affine, real.shape)
        yield paired_scores(hu, real, body)


def seen_on(
    voxels: NDArray[Any], affine: NDArray[Any], target: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Linear interpolation of [z, y, x] at the voxel centres of another grid."""
    z, y, x = np.indices(shape).reshape(3, -1)
    to_source = np.linalg.inv(affine) @ target
    places = (to_source @ np.stack([x, y, z, np.ones_like(x)]))[2::-1]
    values = map_coordinates(voxels.astype(np.float32), places, order=1, mode="nearest")
    return np.asarray(values.reshape(shape), np.float32)


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {score: float(np.mean([row[score] for row in rows])) for score in SCORES}


def main() -> None:
    """Train, judge, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", default=["demo", "reference"])
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each")
    parser.add_argument("--pairs", type=int, default=4, help="heads with both scans, to judge by")
    parser.add_argument("--small", action="store_true", help="a quick look: half a minute each")
    parser.add_argument("--folder", type=Path, help="keep data, runs and pictures here")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    if options.small:
        options.minutes, options.pairs = 0.5, 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        stored = stores(folder, options.pairs)
        plain = baselines(stored["heads"]) | {"floor": floor(stored)}
        runs = [trained(words, stored["heads"], folder, options.minutes) for words in options.runs]
    report(runs, plain, options)


def report(
    runs: list[dict[str, Any]], plain: dict[str, dict[str, float]], options: argparse.Namespace
) -> None:
    """Scores over time, then what they must beat."""
    load = os.getloadavg()[0]
    print(f"{options.minutes:g} minutes of training each, one seed, load {load:.1f}")
    heads = "".join(f"{name:>11}" for name in SCORES.values())
    print(f"{'':40}{'step':>7}{'minute':>8}{heads}")
    for run in runs:
        print(f"{run['run']}, {run['steps']} steps of {run['step_s']:.3g} s")
        for look in run["looks"]:
            print(f"{'':40}{look['step']:7}{look['minute']:8.1f}{row(look)}")
    for name, scores in plain.items():
        print(f"{name:55}{row(scores)}")
    if options.json:
        numbers = {"minutes": options.minutes, "load": load, "runs": runs, "baselines": plain}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


def row(scores: dict[str, float]) -> str:
    return "".join(f"{scores[score]:11.3g}" for score in SCORES)


if __name__ == "__main__":
    main()
