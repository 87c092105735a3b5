"""Numbers that are not finite in the batches of a run, and what the run must make of them."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from cyclegan.config.config import GuardConfig
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.data.batch import Batch
from cyclegan.errors import DivergedError
from cyclegan.metrics.selection_score import SELECTION
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject
from tests.support.stores import make_small_store

STEPS, INTERVAL, MAX_STREAK = 12, 3, 2
BAD = (math.nan, math.inf, -math.inf)


@contextmanager
def poisoned_runs(folder: LocalPath, scoring: Literal["inline", "beside"]) -> Iterator[Inject]:
    """Each injection poisons one run, which must end with finite weights or stop clean."""
    store = make_small_store(folder / "s.zarr")
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(folder)),
            data=replace(base.data, store=str(store.path)),
            train=replace(base.train, max_steps=STEPS),
            guard=GuardConfig(look_every_steps=1, max_streak=MAX_STREAK, max_rollbacks=2),
            scale=replace(base.scale, scoring=scoring),
            schedule=replace(
                base.schedule,
                save_every=f"{INTERVAL} steps",
                validate_every=f"{INTERVAL} steps",
                keep_last=3,
            ),
        )
    )

    def inject(number: int) -> None:
        draw = random.Random(number)
        run = replace(config, run=replace(config.run, name=f"injection-{number}"))
        domain, value = draw.choice(["mri", "ct"]), draw.choice(BAD)
        first = draw.randint(1, STEPS)
        bad = range(first, first + draw.randint(1, 4))
        times = draw.choice([1, 2, 10])  # how often the run comes by and finds them bad
        clean, starts = loop.open_stream, []

        def poisoned(*arguments, start_step: int, **options) -> Iterator[Batch]:
            starts.append(start_step)
            stream = clean(*arguments, start_step=start_step, **options)
            for step, batch in enumerate(stream, start=start_step + 1):
                image = getattr(batch, domain).clone()
                if step in bad and len(starts) <= times:
                    image[0, 0, draw.randrange(32), draw.randrange(32)] = value
                yield replace(batch, **{domain: image})

        stopped = times == 10 and len(set(bad) & set(range(1, STEPS + 1))) >= MAX_STREAK
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(DivergedError, match=r"--run\.name") if stopped else nullcontext(),
        ):
            patch.setattr(loop, "open_stream", poisoned)
            loop.train_worker(run, Worker())

        kept = checkpoint.saved_checkpoints(run.run_folder)
        for each in kept:
            assert_finite(each)
        if not stopped:
            assert checkpoint.unscored_checkpoints(run.run_folder) == []
            lines = [line for line in read_lines(run.run_folder / METRICS) if SELECTION in line]
            assert [line["step"] for line in lines] == list(range(INTERVAL, STEPS + 1, INTERVAL))
            assert all(line[SELECTION] is not None for line in lines)
            assert checkpoint.verify_checkpoint(kept[-1])["step"] == STEPS
        # A way back ends at a checkpoint from before the streak: the last, or the one before it
        # where the last was saved amid the streak.
        for start in starts[1:]:
            assert first - 1 - start < INTERVAL
            assert start < first

    yield inject


def assert_finite(folder: Path) -> None:
    """No tensor of a checkpoint holds anything else."""
    for path in folder.glob("*.safetensors"):
        for name, tensor in checkpoint.load_tensors(path).items():
            assert torch.isfinite(tensor).all(), f"{path.name}: {name}"
