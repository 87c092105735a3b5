"""Claim: `cluster plan`'s model predicts a run on 1 and on 2 workers within 15 %.

Three things are measured alone, each in processes with one thread: a training step without data
and without neighbours, an all-reduce of the run's gradients between two processes over gloo, and
the processor time of a pair's data. As many steps run at once as the run has workers, since they
share the machine's memory, and of each the slowest counts, for which the others would wait; before
and after the training, since these machines change their speed. `cluster.plan.cost_model` puts
them together; then the real command trains under Ray, and its own `speed/pairs_per_s` is set
beside. On a CPU nothing travels behind the backward pass, and data is made beside the step only
where a core is left for it.

Run it alone on the machine: python -m benchmarks.plan [--json FILE]
"""

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import mean, median

import torch
import torch.distributed as dist

from cluster.plan.cost_model import (
    BackwardPass,
    Cluster,
    EpochOverhead,
    Every,
    Links,
    StepCost,
    forecast_speed,
)
from cluster.plan.flops import compute_cost_of
from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.data.batch import Batch
from cyclegan.data.stream import open_stream
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import build_state
from cyclegan.train.engine.step import train_step
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from data_prep.store.store import open_store
from mrct.storage.local_path import LocalPath
from tests.support.stores import make_store

CORES = len(os.sched_getaffinity(0))
SIZE = (64, 64)
ALONE_S = 20.0
STEPS, LOG_EVERY = 60, 10
WORKERS = (1, 2)


def configuration(store: Path, runs: Path) -> Config:
    """Small, but with networks that take most of the time."""
    base = smoke()
    return replace(
        base,
        data=replace(base.data, store=str(store)),
        run=replace(base.run, storage=str(runs)),
        batch=replace(base.batch, shards=2, shard_size=4),
        generator=replace(base.generator, filters=24, blocks=4),
        discriminator=replace(base.discriminator, filters=24),
        train=replace(base.train, max_steps=STEPS),
        schedule=replace(
            base.schedule,
            log_every=f"{LOG_EVERY} steps",
            save_every="never",
            validate_every="never",
        ),
    )


def steps_alone(config: Config, pairs: int) -> list[float]:
    """Seconds of each step on one thread."""
    torch.set_num_threads(1)
    one = replace(config, batch=replace(config.batch, shards=1, shard_size=pairs))
    state = build_state(one, size=SIZE, shards=range(1), device=torch.device("cpu"))
    engine = place_networks(state, one, Worker(), print)
    image, body = torch.rand(pairs, 1, *SIZE) * 2 - 1, torch.ones(pairs, 1, *SIZE)
    batch = Batch(mri=image, ct=image.flip(-1), mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))
    times_s, until = [], time.monotonic() + ALONE_S
    while time.monotonic() < until:
        started = time.monotonic()
        train_step(state, engine, batch, one.loss.at(0, STEPS), 0.99)
        times_s.append(time.monotonic() - started)
    return times_s[2:]


def data_cpu_s(config: Config) -> float:
    """Processor time of one pair's data."""
    torch.set_num_threads(1)
    stream = open_stream(
        open_store(config.store),
        config,
        "train",
        shards=range(config.batch.shards),
        start_step=0,
        device=torch.device("cpu"),
    )
    for _ in range(20):
        next(stream)
    used_s, batches, until = time.process_time(), 0, time.monotonic() + 4
    while time.monotonic() < until:
        next(stream)
        batches += 1
    return (time.process_time() - used_s) / (batches * config.batch.global_size)


def bytes_per_s(size_bytes: int, rank: int, port: int) -> float:
    """2 (n - 1) / n x bytes over the time of an all-reduce between two processes."""
    torch.set_num_threads(1)
    meeting = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    gradient, times_s = torch.ones(size_bytes // 4), []
    for _ in range(30):
        started = time.monotonic()
        dist.all_reduce(gradient)
        times_s.append(time.monotonic() - started)
    dist.destroy_process_group()
    return size_bytes / median(times_s[5:])


def measure_training(config: Config, workers: int) -> float:
    """Pairs/s of the real command, the median of its lines but for the first."""
    named = resolve(
        replace(
            config,
            run=replace(config.run, name=f"on-{workers}"),
            scale=replace(config.scale, workers=workers, cpus_per_worker=1),
        )
    )
    file = Path(named.run.storage) / f"{workers}.yaml"
    file.write_text(to_yaml(named))
    command = [sys.executable, "-m", "cyclegan.train", "--config", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    lines = read_lines(named.run_folder / METRICS)
    return median([line["speed/pairs_per_s"] for line in lines if "speed/pairs_per_s" in line][1:])


def main() -> None:
    """Measure the parts, predict, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="keep every figure in this file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = LocalPath(temporary)
        store = make_store(
            folder / "s.zarr", mri=6, ct=6, shape=(16, *SIZE), splits=("train", "train", "val")
        )
        config = configuration(store.path, folder)
        work = compute_cost_of(config, SIZE)
        gradient = work.generator_bytes + work.discriminator_bytes
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            speeds = pool.starmap(bytes_per_s, [(gradient, rank, port) for rank in (0, 1)], 1)
            of_data = pool.apply(data_cpu_s, [config])
            speed = min(speeds)
            rows = [row(config, each, pool, gradient, speed, of_data) for each in WORKERS]
    print(f"{CORES} cores, load {os.getloadavg()[0]:.1f}; gradient {gradient / 1e6:.1f} MB")
    print(f"all-reduce {speed / 1e6:,.0f} MB/s, data {1e6 * of_data:,.0f} CPU us a pair")
    print("workers   step alone ms, after   predicted pairs/s   trained pairs/s   off by")
    for each in rows:
        print(
            f"{each['workers']:7}{each['alone_before_ms']:16.0f}{each['alone_after_ms']:7.0f}"
            f"{each['predicted']:20.1f}"
            f"{each['trained']:18.1f}{100 * each['off']:+9.1f} %"
        )
    if options.json:
        parts = {"gradient_bytes": gradient, "bytes_per_s": speed, "data_cpu_s": of_data}
        options.json.write_text(json.dumps({"cores": CORES, "rows": rows} | parts, indent=1))


def row(
    config: Config, workers: int, pool: Pool, gradient: int, speed: float, of_data: float
) -> dict[str, float]:
    """One number of workers: alone, predicted, trained."""
    pairs = config.batch.global_size // workers

    def slowest_s() -> float:
        """The mean over steps, each as long as its slowest worker takes."""
        times_s = pool.starmap(steps_alone, [(config, pairs)] * workers, 1)
        return mean(map(max, zip(*times_s, strict=False)))

    before = slowest_s()
    measured = measure_training(config, workers)
    after = slowest_s()
    step = StepCost(
        pairs=pairs,
        compute_s=(before + after) / 2,
        backward=(BackwardPass(gradient_bytes=gradient, share=0.0),),
        pair_bytes=0.0,
        data_cpu_s=of_data,
        data_beside=2 * workers <= CORES,
    )
    site = Cluster(
        gpus=workers,
        gpus_per_node=workers,
        links=Links(node_bytes_per_s=speed, network_bytes_per_s=speed, latency_s=0.0),
        cores_per_gpu=1.0,
        store_bytes_per_s=1e12,
        write_bytes_per_s=1e12,
    )
    rhythm = EpochOverhead(
        steps=STEPS,
        checkpoint_bytes=0,
        checkpoint_every=Every(),
        validation_s=0.0,
        validation_every=Every(),
    )
    predicted = forecast_speed(step, site, rhythm).pairs_per_s
    return {
        "workers": workers,
        "alone_before_ms": 1e3 * before,
        "alone_after_ms": 1e3 * after,
        "predicted": predicted,
        "trained": measured,
        "off": predicted / measured - 1,
    }


if __name__ == "__main__":
    main()
