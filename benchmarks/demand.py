"""Claim: the stream feeds consumers as fast as H100s at fewer cores than a node has for each.

A consumer that sleeps for as long as an H100 computes (200 pairs a second: shared facts, on paper)
takes batches from the stream. Printed for 1 worker on a core of its own and on all cores, and for 8
on all, each in a process of its own: the share of time that it waited for data, and the processor
time per pair, from which the cores that are used per GPU follow. A GPU's own node warps on the GPU,
so the stages before DALI are measured alone too.
Run it: python -m benchmarks.demand [--small] [--json FILE] [--folder DIR]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.loading.slices import FULL, SMALL, make_slices
from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data.prefetch import Heartbeat, prefetch
from cyclegan.data.reader import SliceReader
from cyclegan.data.sampler import Order
from cyclegan.data.slice_index import find_domain
from cyclegan.data.slice_source import DomainSource
from cyclegan.data.stream import open_stream
from data_prep.store.store import Store, open_store
from mrct.storage.local_path import LocalPath

PAIRS_PER_S = 200
BATCH = 16
CORES = len(os.sched_getaffinity(0))
STAGES = {"cpu": "the whole stream, DALI on the CPU", "gpu": "what is left beside DALI on a GPU"}


def batches(store: Store, stage: str) -> Iterator[Any]:
    """Batches of the whole stream, or the arrays that DALI would take to a GPU."""
    data = DataConfig(min_body_fraction=0, min_deviation=0, cache_gib=0.0)
    config = Config(data=data, batch=BatchConfig(shards=1, shard_size=BATCH))
    if stage == "cpu":
        device = torch.device("cpu")
        yield from open_stream(store, config, "train", shards=range(1), start_step=0, device=device)
    else:
        yield from prefetch(partial(arrays, store, config), 0, stall_s=60, note=print)


def arrays(store: Store, config: Config, step: int, heartbeat: Heartbeat) -> Iterator[Any]:
    """Order, reader and sources, as in the stream."""
    domains = {m: find_domain(store, config.data, m, "train") for m in ("mri", "ct")}
    order = Order(
        mri=domains["mri"].table,
        ct=domains["ct"].table,
        seed=0,
        batch=config.batch,
        partner=config.data.partner,
        augment=config.data,
    )
    reader = SliceReader(store, 0)
    mri, ct = (
        DomainSource(
            modality,
            domains[modality],
            order,
            store=store,
            config=config.data,
            reader=reader,
            intensity=None,
            record=print,
            heartbeat=heartbeat,
        )
        for modality in ("mri", "ct")
    )
    while True:
        samples = order.samples(order.indices(step, range(1)))
        pending = mri.start(samples.mri, step), ct.start(samples.ct, step)
        yield mri.finish(pending[0]), ct.finish(pending[1])
        step += 1


def consume(path: LocalPath, stage: str, seconds: float) -> dict[str, float]:
    """Take batches at the rate of an H100 and sleep in between."""
    stream = batches(open_store(path), stage)
    for _ in range(4):
        next(stream)
    started, used_s, waited_s, pairs = time.perf_counter(), time.process_time(), 0.0, 0
    while time.perf_counter() - started < seconds:
        waiting = time.perf_counter()
        next(stream)
        waited_s += time.perf_counter() - waiting
        pairs += BATCH
        time.sleep(BATCH / PAIRS_PER_S)
    elapsed_s = time.perf_counter() - started
    return {
        "data_wait_percent": 100 * waited_s / elapsed_s,
        "pairs_per_s": pairs / elapsed_s,
        "cpu_us_per_pair": 1e6 * (time.process_time() - used_s) / pairs,
    }


def demand(path: Path, stage: str, workers: int, cores: int, seconds: float) -> dict[str, Any]:
    """All workers at once, on so many cores; means over them."""
    ours = sorted(os.sched_getaffinity(0))[:cores]
    command = [sys.executable, "-m", "benchmarks.demand", "--consume", str(path), stage]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*command, str(seconds)],
            stdout=subprocess.PIPE,
            env=environment,
            preexec_fn=partial(os.sched_setaffinity, 0, ours),
        )
        for _ in range(workers)
    ]
    entries = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    means = {name: sum(one[name] for one in entries) / workers for name in entries[0]}
    used = PAIRS_PER_S * means["cpu_us_per_pair"] / 1e6
    facts = {"stage": stage, "workers": workers, "cores": cores, "cores_used_per_gpu": used}
    return facts | means


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small store and a few seconds")
    parser.add_argument("--json", type=Path, help="keep every figure in this file")
    parser.add_argument("--folder", type=Path, help="where the data of benchmarks.streaming lies")
    parser.add_argument("--consume", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.consume:
        path, stage, seconds = options.consume
        print(json.dumps(consume(LocalPath(path), stage, float(seconds))))
        return
    seconds = 4.0 if options.small else 15.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = LocalPath(options.folder or temporary).absolute()
        store = make_slices(folder, SMALL if options.small else FULL)
        rows = [
            demand(store.path, stage, workers, cores, seconds)
            for stage in STAGES
            for workers, cores in ((1, 1), (1, CORES), (8, CORES))
        ]
    print(f"{PAIRS_PER_S} pairs/s a worker, {CORES} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':36}workers  cores  wait %  pairs/s each  CPU us a pair  cores used a GPU")
    for row in rows:
        print(
            f"{STAGES[row['stage']]:36}{row['workers']:7}{row['cores']:7}{row['data_wait_percent']:8.1f}"
            f"{row['pairs_per_s']:14.0f}{row['cpu_us_per_pair']:15.0f}{row['cores_used_per_gpu']:18.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"cores": CORES, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
