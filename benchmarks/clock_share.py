"""Claim: with `auto`, training takes 95 % of the clock, whatever validating and saving cost.

That is in the long run: what the first validation costs is known only after it, and has to be made
up for.

Measured: two workers with gloo train a small run, which is stopped after some minutes, with scores
computed while the workers wait and then with scores computed beside the training. The times of
`auto` are shortened in proportion, so that some validations fall into them. By the model of
`cluster plan`: `default` on 1, 8 and 64 GPUs, with `auto` and with an interval of 1000 steps, in
both ways too.

Run it: python -m benchmarks.clock_share
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

from cluster.plan.assumptions import Assumptions, Scoring
from cluster.plan.cost_model import forecast_speed
from cluster.plan.flops import compute_cost_of
from cluster.plan.run_costs import cluster_of, overhead_of, step_cost_of, validation_s_of
from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.presets import default, smoke
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from data_prep.store.store import Store
from mrct.storage.local_path import LocalPath
from tests.support.gloo import run_workers
from tests.support.stores import make_store

DEPTH, STORED_DEPTH = 160, 2
"""Slices of a volume as it is reckoned, and as it is stored here."""
SHORT = 12
"""Factor by which the times of `auto` are shortened in what is measured."""
TRAIN = """
import time
from cyclegan.train import periodic_events
for event in ("validate", "save"):
    periodic_events.AUTO_S[event] /= {short}
until = time.monotonic() + {seconds}
train_worker(config, meet(2), stop_requested=lambda: time.monotonic() > until)
"""


def measured(
    store: Store, folder: LocalPath, minutes: float, scoring: Scoring
) -> tuple[str, list[float]]:
    """The sentence that a run of two workers ends with, and the times of its validations."""
    base = smoke()
    auto = replace(base.schedule, log_every="auto", save_every="auto", validate_every="auto")
    config = resolve(
        replace(
            base,
            run=replace(base.run, name=scoring, storage=str(folder)),
            data=replace(base.data, store=str(store.path)),
            train=replace(base.train, max_steps=10**6),
            schedule=auto,
            scale=replace(base.scale, scoring=scoring),
        )
    )
    path = folder / f"{scoring}.yaml"
    path.write_text(to_yaml(config))
    run_workers(TRAIN.format(short=SHORT, seconds=60 * minutes), path, 2)
    lines = read_lines(config.run_folder / METRICS)
    times = [line["time_s"] for line in lines if "val/selection" in line]
    return lines[-1]["note"], times


def modelled(config: Config, store: Store, gpus: int, scoring: Scoring) -> float:
    """Share of the clock that training takes on so many GPUs, in percent."""
    assumed = Assumptions(scoring=scoring)
    config = replace(
        config,
        batch=replace(config.batch, shards=max(config.batch.shards, gpus)),
        scale=replace(config.scale, workers=gpus),
    )
    work = compute_cost_of(config, store.size)
    stored_s = validation_s_of(config, store, assumed, work)
    overhead = overhead_of(config, store, DEPTH / STORED_DEPTH * stored_s)
    step = step_cost_of(config, store, assumed, work)
    return 100 * forecast_speed(step, cluster_of(gpus, assumed), overhead).training_share


def main() -> None:
    """Measure, compute, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the run of two workers")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = LocalPath(temporary)
        splits = ("train", "train", "val")
        small = make_store(
            folder / "small.zarr", mri=3, ct=3, paired=1, splits=splits, shape=(8, 64, 64)
        )
        runs = {
            scoring: measured(small, folder, options.minutes, scoring)
            for scoring in get_args(Scoring)
        }
        for scoring, (note, times) in runs.items():
            load = os.getloadavg()[0]
            print(f"measured, two workers with gloo, scores {scoring}, load {load:.1f}: {note}")
            print(f"  validations after {', '.join(f'{time_s:.0f}' for time_s in times)} s")
        shape = (STORED_DEPTH, 256, 256)
        halves = ("train", "val")
        store = make_store(folder / "s.zarr", mri=8, ct=8, splits=halves, shape=shape)
        base = default()
        by_steps = replace(base.schedule, save_every="1000 steps", validate_every="1000 steps")
        every_1000 = replace(base, schedule=by_steps)
        shares = {
            f"{gpus} GPUs, scores computed {scoring}": (
                modelled(base, store, gpus, scoring),
                modelled(every_1000, store, gpus, scoring),
            )
            for gpus in (1, 8, 64)
            for scoring in get_args(Scoring)
        }
    for case, (auto, steps) in shares.items():
        print(f"by the model, {case}: auto {auto:.1f} %, every 1000 steps {steps:.1f} %")
    if options.json:
        options.json.write_text(json.dumps({"measured": runs, "model": shares}))


if __name__ == "__main__":
    main()
