"""Claim: a batch hardly feels ten times as many volumes; memory grows by open volumes.

Stored sets of small volumes go through the whole stream, each in a process of its own: processor
time per batch, and resident memory, once every volume has been in use (the reader holds up to 4,096
open). Stores without voxels show the same for the order alone, among as many volumes as nobody
would write for a benchmark.
Run it: python -m benchmarks.growth [--small] [--json FILE] [--folder DIR]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.index import SLICES
from benchmarks.index import make_store as make_index
from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data.sampler import Order
from cyclegan.data.slice_index import find_domain
from cyclegan.data.stream import open_stream
from data_prep.store.history import rebuild_index
from data_prep.store.store import open_store
from data_prep.store.writer import create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.storage.local_path import LocalPath
from tests.support.stores import SPACING_MM, prepared, random_head

SHAPE = (16, 64, 64)
CONFIG = Config(
    data=DataConfig(min_body_fraction=0, min_deviation=0, cache_gib=0.0),
    batch=BatchConfig(shards=4, shard_size=4),
)
STEPS = 200
REPEATS = 3
Figures = dict[str, float]


def make_stored(path: LocalPath, volumes: int) -> LocalPath:
    """A store of `volumes` volumes, half of each domain; few heads under many names."""
    if path.exists():
        return path
    create_store(path, spacing_mm=SPACING_MM, size=SHAPE[1:], settings={"window_hu": WINDOW_HU})
    random = np.random.default_rng(0)
    heads = [random_head(random, SHAPE) for _ in range(4)]
    for number in range(volumes):
        modality = ("mri", "ct")[number % 2]
        head = heads[number % len(heads)]
        write_volume(path, prepared(modality, f"{number:016x}", "train", head, SPACING_MM))
    rebuild_index(path)
    return path


def resident_mib() -> float:
    """Memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


def measure_stream(path: LocalPath) -> Figures:
    """The whole stream, after as many steps as bring every volume into use."""
    store = open_store(path)
    before_mib = resident_mib()
    device = torch.device("cpu")
    stream = open_stream(store, CONFIG, "train", shards=range(4), start_step=0, device=device)
    unseen, warm_up = {volume.name for volume in store.volumes}, 0
    domains = {name: find_domain(store, CONFIG.data, name, "train") for name in ("mri", "ct")}
    order = order_of(domains)
    for warm_up in count(1):  # the loader reads ahead: a few steps more than these are in use
        samples = order.samples(order.indices(warm_up - 1, range(4)))
        for name, slices in (("mri", samples.mri), ("ct", samples.ct)):
            for number in set(domains[name].table.places(slices.row)[0].tolist()):
                unseen.discard(domains[name].volumes[number].name)
        if not unseen:
            break
    with closing(stream):
        list(islice(stream, 8))
        first_us = cpu_us(lambda: next(stream), warm_up)
        batch_us = min(cpu_us(lambda: next(stream), STEPS) for _ in range(REPEATS))
        return {
            "steps until all were in use": warm_up,
            "CPU us a batch meanwhile": first_us,
            "CPU us a batch then": batch_us,
            "MiB beside imports": resident_mib() - before_mib,
        }


def order_of(domains: dict) -> Order:
    """The order that `open_stream` makes."""
    return Order(
        mri=domains["mri"].table,
        ct=domains["ct"].table,
        seed=CONFIG.run.seed,
        batch=CONFIG.batch,
        partner=CONFIG.data.partner,
        augment=CONFIG.data,
    )


def measure_order(path: LocalPath) -> Figures:
    """The order alone, of a store that is an index only."""
    before_mib, started = resident_mib(), time.perf_counter()
    store = open_store(path)
    order = order_of({name: find_domain(store, CONFIG.data, name, "train") for name in CONTENT})
    open_s = time.perf_counter() - started
    steps = np.random.default_rng(0).integers(10**6, size=STEPS).tolist()

    def batch() -> object:
        return order.samples(order.indices(steps.pop(), range(4)))

    batch()
    batch_us = cpu_us(batch, STEPS // 2)
    tracemalloc.start()
    batch()
    peak = tracemalloc.get_traced_memory()[1]
    return {
        "slices": len(order.mri) + len(order.ct),
        "s to open": open_s,
        "CPU us a batch's order": batch_us,
        "KiB a batch's order": peak / 1024,
        "MiB of index and tables": resident_mib() - before_mib,
    }


CONTENT = ("mri", "ct")


def cpu_us(run: Callable[[], object], times: int) -> float:
    """Processor time of this process for one of `times` runs."""
    started = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - started) / times * 1e6


def measure(kind: str, path: Path) -> Figures:
    """In a process of its own, so that memory is that of one store."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--measure", kind, str(path)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a tenth of the volumes")
    parser.add_argument("--json", type=Path, help="keep every figure in this file")
    parser.add_argument("--folder", type=Path, help="where the stores are made and kept")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, path = options.measure
        print(
            json.dumps({"stored": measure_stream, "indexed": measure_order}[kind](LocalPath(path)))
        )
        return
    share = 10 if options.small else 1
    rows: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = LocalPath(options.folder or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for kind, few in (("stored", 200 // share), ("indexed", 10_000 // share)):
            for volumes in (few, 10 * few):
                path = folder / f"{kind}-{volumes}.zarr"
                if kind == "stored":
                    make_stored(path, volumes)
                elif not path.exists():
                    make_index(path, volumes)
                rows.append({"kind": kind, "volumes": volumes} | measure(kind, path))
                entries = "  ".join(
                    f"{value:,.4g} {name}" for name, value in list(rows[-1].items())[2:]
                )
                print(f"{kind:8}{volumes:8,} volumes:  {entries}", flush=True)
    print(
        f"load {os.getloadavg()[0]:.1f}; batches of 16 pairs, {SLICES} slices a volume if indexed"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
