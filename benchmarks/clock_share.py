"""Claim: with `auto`, training takes 95 % of the clock, whatever validating and saving cost.

That is in the long run: what the first validation costs is known only after it, and has to be made
up for.

Measured: two workers with gloo train a small run, which is stopped after some minutes, once with
scores computed while the training waits and once with scores computed beside it. The times of
`auto` are shortened in proportion, so that some validations fall into them. By the model: `default`
on 1, 8 and 64 GPUs, in both ways, with `auto` and with an interval of 1000 steps, as `cluster plan`
counts it but with the scoring on the CPU too. Run it: python -m benchmarks.clock_share
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Literal

from cluster.plan.assumptions import Assumptions
from cluster.plan.cost_model import forecast_speed
from cluster.plan.flops import compute_cost_of
from cluster.plan.scaling_plan import cluster_of, every_of, overhead_of, step_cost_of
from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.interval import parse_interval
from cyclegan.config.presets import default, smoke
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.periodic_events import AUTO_S, MAX_SHARE
from data_prep.store.store import Store
from mrct.storage.local_path import LocalPath
from tests.support.gloo import run_workers
from tests.support.stores import make_store

SCORING_S = 10.0
"""Processor time to score a volume of 160 x 256 x 256: 9 to 12 s an MRI, 5.6 s a CT."""
DEPTH, VOLUMES = 160, 8
"""Slices of a volume, and volumes that a validation of `default` has."""
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
Scoring = Literal["inline", "beside"]
SCORING: tuple[Scoring, ...] = ("inline", "beside")


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
    assumed = Assumptions()
    config = replace(
        config,
        batch=replace(config.batch, shards=max(config.batch.shards, gpus)),
        scale=replace(config.scale, workers=gpus),
    )
    work = compute_cost_of(config, store.size)
    overhead = overhead_of(config, store, assumed, work)
    depths = sum(int(store.select(modality, "val").depths.sum()) for modality in ("mri", "ct"))
    most = ceil(VOLUMES / gpus)  # volumes of the busiest worker
    validation_s, scoring_s = most * overhead.validation_s / depths * DEPTH, most * SCORING_S
    if scoring == "inline":
        validation_s += scoring_s
    # The next validation waits for the scores of the one before.
    auto_s = max(AUTO_S["validate"], validation_s * (1 / MAX_SHARE - 1), scoring_s)
    overhead = replace(
        overhead,
        validation_s=validation_s,
        validation_every=every_of(config, "validate", auto_s),
    )
    step, cluster = step_cost_of(config, store, assumed, work), cluster_of(gpus, assumed)
    seen = forecast_speed(step, cluster, overhead)
    interval = parse_interval("validate_every", config.schedule.validate_every)
    if scoring == "beside" and interval.unit == "steps":
        waits_s = max(0.0, scoring_s - interval.amount * seen.step_s)
        seen = forecast_speed(step, cluster, replace(overhead, validation_s=validation_s + waits_s))
    return 100 * overhead.steps * seen.step_s / seen.epoch_s


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
        runs = {way: measured(small, folder, options.minutes, way) for way in SCORING}
        store = make_store(folder / "s.zarr", mri=3, ct=3, splits=splits, shape=(2, 256, 256))
        base = default()
        by_steps = replace(base.schedule, save_every="1000 steps", validate_every="1000 steps")
        shares = {
            (gpus, way): (
                modelled(base, store, gpus, way),
                modelled(replace(base, schedule=by_steps), store, gpus, way),
            )
            for gpus in (1, 8, 64)
            for way in SCORING
        }
    for way, (note, times) in runs.items():
        print(f"measured, two workers with gloo, load {os.getloadavg()[0]:.1f}, {way}: {note}")
        print(f"  validations after {', '.join(f'{time_s:.0f}' for time_s in times)} s")
    for (gpus, way), (auto, steps) in shares.items():
        print(
            f"by the model, {gpus:2} GPUs, {way}: auto {auto:.1f} %, every 1000 steps {steps:.1f} %"
        )
    if options.json:
        model = [[gpus, way, *percent] for (gpus, way), percent in shares.items()]
        options.json.write_text(json.dumps({"measured": runs, "model": model}))


if __name__ == "__main__":
    main()
