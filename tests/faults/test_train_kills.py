"""P1 and P2: a deterministic run, killed anywhere and restarted on any number of workers, ends with
the bits of an unbroken one, and sees the same samples in the same order. Every score is there at
the end, whether it was computed at once or beside the training.

Two kills of each under `make test-all`, 200 and 40 under `make faults`.
"""

import hashlib
import json
import os
import random
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.distributed as dist

from cyclegan.config.config import BatchConfig, Config
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from tests.support.forks import forked
from tests.support.stores import make_store

KILLS = (
    {"inline": 200, "beside": 40}
    if os.environ.get("CYCLEGAN_FAULTS") == "full"
    else {"inline": 2, "beside": 2}
)
KILLS_OF_A_RUN = 4
STEPS, SHARDS, SHARD_SIZE = 12, 4, 1
LONGEST_LIFE_S = {"inline": 4.0, "beside": 10.0}  # a scorer process takes seconds to start
LEDGER = "ledger.jsonl"
WORKERS = (1, 2, 4)


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
    loop.train_worker(config, Worker(rank=rank, world_size=world_size))


def start(config: Config, world_size: int) -> list[BaseProcess]:
    meeting = config.run_folder.parent / f"meeting-{time.monotonic_ns()}"
    config.run_folder.mkdir(parents=True, exist_ok=True)
    workers = [
        forked().Process(target=work, args=(config, rank, world_size, str(meeting)))
        for rank in range(world_size)
    ]
    for worker in workers:
        worker.start()
    return workers


def kill(workers: list[BaseProcess], draw: random.Random) -> None:
    """One worker first, as a lost machine would go; the others wait for it until they follow."""
    draw.choice(workers).kill()
    time.sleep(draw.uniform(0, 0.2))
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def live(config: Config, kills: int, draw: random.Random) -> int:
    """Run to the end through at most so many kills; returns how many there were."""
    done = 0
    while True:
        workers = start(config, draw.choice(WORKERS) if kills else 1)
        died = False
        if done < kills:
            until = time.monotonic() + draw.uniform(0.1, LONGEST_LIFE_S[config.scale.scoring])
            while time.monotonic() < until and any(worker.is_alive() for worker in workers):
                time.sleep(0.01)
            if died := any(worker.is_alive() for worker in workers):
                kill(workers, draw)
                done += 1
        if not died:
            for worker in workers:
                worker.join()
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


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scoring", KILLS)
def test_a_run_killed_anywhere_ends_with_the_bits_and_samples_of_an_unbroken_one(
    tmp_path: Path, scoring: Literal["inline", "beside"]
):
    store = make_store(
        tmp_path / "s.zarr",
        mri=2,
        ct=2,
        paired=1,
        splits=("train", "train", "val"),
        shape=(4, 32, 32),
    )
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(tmp_path / "runs"), name="unbroken"),
            data=replace(base.data, store=str(store.path)),
            batch=BatchConfig(shards=SHARDS, shard_size=SHARD_SIZE),
            train=replace(base.train, deterministic=True, max_steps=STEPS),
            schedule=replace(base.schedule, save_every="3 steps", validate_every="6 steps"),
            scale=replace(base.scale, scoring=scoring),
        )
    )
    draw = random.Random(7)
    live(config, 0, draw)
    expected, samples, score = end(config), shown(config), last_score(config)
    assert len(samples) == STEPS * SHARDS

    kills = number = 0
    while kills < KILLS[scoring]:
        run = replace(config, run=replace(config.run, name=f"killed-{number}"))
        kills += live(run, min(KILLS_OF_A_RUN, KILLS[scoring] - kills), draw)
        number += 1
        assert end(run) == expected
        assert last_score(run) == score
        assert shown(run) == samples
    print(f"{scoring}: {kills} kills in {number} runs: every one ended with the same hashes")
