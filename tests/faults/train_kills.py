"""Kills of deterministic runs, restarted on any number of workers, and what they must end with."""

import hashlib
import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from multiprocessing.process import BaseProcess
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist

from cyclegan.config.config import BatchConfig, Config
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.validation import scores
from mrct.storage.atomic import PARTIAL
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject
from tests.support.forks import forked
from tests.support.stores import make_small_store

KILLS_OF_A_RUN = 2
STEPS, SHARDS, SHARD_SIZE = 12, 4, 1
LEDGER = "ledger.jsonl"
WORKERS = (1, 2, 4)
MOMENTS = {"start": 1, "step": 4, "save": 3}
"""When a worker is killed, and how often: soon after its start, after a step that some worker has
begun, or in a save."""
SOON_S, LATER_S = 1.0, 0.05
HANGS_AFTER_S = 300


def work(config: Config, rank: int, world_size: int, meeting: str) -> None:
    """One worker, which writes down what each shard of each step is shown."""
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world_size)
    step = loop.train_step
    shards = config.batch.shards_of(rank, world_size)

    def noted(state, engine, batch, *rest):
        shown = torch.cat([batch.mri, batch.ct], dim=1).split(SHARD_SIZE)
        with (config.run_folder / LEDGER).open("a") as ledger:
            for shard, images in zip(shards, shown, strict=True):
                pixels = hashlib.sha256(images.numpy().tobytes()).hexdigest()
                ledger.write(json.dumps([state.step, shard, pixels]) + "\n")
        return step(state, engine, batch, *rest)

    loop.train_step = noted
    scores.validation_figure = no_picture
    loop.train_worker(config, Worker(rank=rank, world_size=world_size))


def no_picture(rows: object) -> np.ndarray:
    """Drawing took half of a run, and nothing is promised of it."""
    return np.zeros((1, 1, 3), np.uint8)


@contextmanager
def started(config: Config, world_size: int) -> Iterator[list[BaseProcess]]:
    """The workers of a run; none is alive after the block."""
    meeting = config.run_folder.parent / f"meeting-{time.monotonic_ns()}"
    config.run_folder.mkdir(parents=True, exist_ok=True)
    workers = [
        forked().Process(target=work, args=(config, rank, world_size, str(meeting)))
        for rank in range(world_size)
    ]
    for worker in workers:
        worker.start()
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()


def is_saving(config: Config) -> bool:
    return any((config.run_folder / "checkpoints").glob(f"{PARTIAL}*"))


def noted_lines(config: Config) -> int:
    ledger = config.run_folder / LEDGER
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def killed(config: Config, workers: list[BaseProcess], draw: random.Random) -> bool:
    """Kill one worker, as a lost machine would go, while the others wait; unless all have ended.

    The moment follows the run, not the clock: this machine is shared.
    """
    (moment,) = draw.choices(list(MOMENTS), list(MOMENTS.values()))
    saved = checkpoint.saved_checkpoints(config.run_folder)
    reached = checkpoint.verify_checkpoint(saved[-1])["step"] if saved else 0
    lines_left = SHARDS * (STEPS - reached)
    lines_wanted = noted_lines(config) + draw.randint(1, max(lines_left, 1)) * (moment != "start")
    gives_up = time.monotonic() + HANGS_AFTER_S
    later_s = draw.uniform(0, SOON_S if moment == "start" else LATER_S)
    while any(worker.is_alive() for worker in workers) and (
        noted_lines(config) < lines_wanted or (moment == "save" and not is_saving(config))
    ):
        assert time.monotonic() < gives_up, "the run hangs"
        time.sleep(0.001)
    time.sleep(later_s)
    if not any(worker.is_alive() for worker in workers):
        return False
    draw.choice(workers).kill()
    time.sleep(draw.uniform(0, 0.2))
    return True


def live(config: Config, kills: int, draw: random.Random) -> int:
    """Run to the end through at most so many kills; returns how many there were."""
    done = 0
    while True:
        with started(config, draw.choice(WORKERS) if kills else 1) as workers:
            if done < kills and killed(config, workers, draw):
                done += 1
                continue
            for worker in workers:
                worker.join(HANGS_AFTER_S)
            assert [worker.exitcode for worker in workers] == [0] * len(workers)
            return done


def end(config: Config) -> dict[str, str]:
    """Hashes of the whole state after the last step."""
    manifest = checkpoint.folder_of(config.run_folder, STEPS) / checkpoint.FILE_HASHES
    hashes: dict[str, str] = json.loads(manifest.read_text())
    return hashes


def last_score(config: Config) -> float:
    assert checkpoint.unscored_checkpoints(config.run_folder) == []
    return checkpoint.score_of(checkpoint.folder_of(config.run_folder, STEPS))


def shown(config: Config) -> set[tuple[int, int, str]]:
    """(step, shard, hash of its images), in whatever order and however often."""
    lines = (config.run_folder / LEDGER).read_text().splitlines()
    return {tuple(json.loads(line)) for line in lines}


@contextmanager
def kills_of_runs(folder: LocalPath, scoring: Literal["inline", "beside"]) -> Iterator[Inject]:
    """Each injection kills one run `KILLS_OF_A_RUN` times; it must end as an unbroken one does."""
    store = make_small_store(folder / "s.zarr")
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(folder / "runs"), name="unbroken"),
            data=replace(base.data, store=str(store.path)),
            batch=BatchConfig(shards=SHARDS, shard_size=SHARD_SIZE),
            train=replace(base.train, deterministic=True, max_steps=STEPS),
            schedule=replace(base.schedule, save_every="3 steps", validate_every="6 steps"),
            scale=replace(base.scale, scoring=scoring),
        )
    )
    live(config, 0, random.Random())
    expected, samples, score = end(config), shown(config), last_score(config)
    assert len(samples) == STEPS * SHARDS

    def inject(number: int) -> None:
        draw, kills = random.Random(number), 0
        for life in count():  # a run that ends before its kills has another after it
            run = replace(config, run=replace(config.run, name=f"killed-{number}-{life}"))
            kills += live(run, KILLS_OF_A_RUN - kills, draw)
            assert end(run) == expected
            assert last_score(run) == score
            assert shown(run) == samples
            shutil.rmtree(run.run_folder)
            if kills == KILLS_OF_A_RUN:
                return

    yield inject
