"""P10: a run that meets numbers that are not finite heals, or stops clean; at most one interval is
lost, whether scores are computed at once or beside the training. Three injections of each under
`make test-all`, 50 under `make faults`.
"""

import math
import os
import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from cyclegan.config.config import Config, GuardConfig
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.data.batch import Batch
from cyclegan.errors import DivergedError
from cyclegan.metrics.selection_score import SELECTION
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from tests.support.stores import make_store

INJECTIONS = 50 if os.environ.get("CYCLEGAN_FAULTS") == "full" else 3
STEPS, INTERVAL, MAX_STREAK = 12, 3, 2
BAD = (math.nan, math.inf, -math.inf)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("divergence")
    store = make_store(
        folder / "s.zarr",
        mri=2,
        ct=2,
        paired=1,
        splits=("train", "train", "val"),
        shape=(4, 32, 32),
    )
    base = smoke()
    return resolve(
        replace(
            base,
            run=replace(base.run, storage=str(folder)),
            data=replace(base.data, store=str(store.path)),
            train=replace(base.train, max_steps=STEPS),
            guard=GuardConfig(look_every_steps=1, max_streak=MAX_STREAK, max_rollbacks=2),
            schedule=replace(
                base.schedule, save_every=f"{INTERVAL} steps", validate_every="never", keep_last=3
            ),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("scoring", ["inline", "beside"])
@pytest.mark.parametrize("number", range(INJECTIONS))
def test_an_injection_ends_in_finite_weights_or_a_clean_stop(
    config: Config,
    number: int,
    scoring: Literal["inline", "beside"],
    monkeypatch: pytest.MonkeyPatch,
):
    draw = random.Random(number)
    run = replace(
        config,
        run=replace(config.run, name=f"injection-{number}-{scoring}"),
        scale=replace(config.scale, scoring=scoring),
        schedule=replace(config.schedule, validate_every=f"{INTERVAL} steps"),
    )
    domain, value = draw.choice(["mri", "ct"]), draw.choice(BAD)
    first = draw.randint(1, STEPS)
    bad = range(first, first + draw.randint(1, 4))
    times = draw.choice([1, 2, 10])  # how often the run comes by and finds them bad
    clean, starts, seen = loop.open_stream, [], []

    def poisoned(*arguments, start_step: int, **options) -> Iterator[Batch]:
        starts.append(start_step)
        stream = clean(*arguments, start_step=start_step, **options)
        for step, batch in enumerate(stream, start=start_step + 1):
            image = getattr(batch, domain).clone()
            if step in bad and len(starts) <= times:
                image[0, 0, draw.randrange(32), draw.randrange(32)] = value
            seen.append(step)
            yield replace(batch, **{domain: image})

    monkeypatch.setattr(loop, "open_stream", poisoned)
    stopped = times == 10 and len(set(bad) & set(range(1, STEPS + 1))) >= MAX_STREAK
    with pytest.raises(DivergedError, match=r"--run\.name") if stopped else nullcontext():
        train_worker(run, Worker())

    for folder in checkpoint.saved_checkpoints(run.run_folder):
        assert_finite(folder)
    if not stopped:
        assert checkpoint.unscored_checkpoints(run.run_folder) == []
        lines = [line for line in read_lines(run.run_folder / METRICS) if SELECTION in line]
        assert [line["step"] for line in lines] == list(range(INTERVAL, STEPS + 1, INTERVAL))
        assert all(line[SELECTION] is not None for line in lines)
        assert (
            checkpoint.verify_checkpoint(checkpoint.saved_checkpoints(run.run_folder)[-1])["step"]
            == STEPS
        )
    # A way back ends at a checkpoint from before the streak: the last, or the one before it where
    # the last was saved amid the streak.
    for start in starts[1:]:
        assert first - 1 - start < INTERVAL
        assert start < first


def assert_finite(folder: Path) -> None:
    """No tensor of a checkpoint holds anything else."""
    for path in folder.glob("*.safetensors"):
        for name, tensor in checkpoint.load_tensors(path).items():
            assert torch.isfinite(tensor).all(), f"{path.name}: {name}"
