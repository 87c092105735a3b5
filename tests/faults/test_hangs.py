"""P11: whatever becomes of one worker, the run does not hang: all are started again in a minute,
the one that failed first is named, and the run ends. Under `make faults`; under `make test-all` a
worker is killed in `tests/cyclegan/train/run/test_signals.py`.
"""

import json
import os
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.config import Config
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run import launch
from mrct.ray_session import ray_session
from tests.faults.hanging import FAULT, KINDS, MOMENTS, run_worker_that_goes_wrong
from tests.support.stores import make_store

RUNS = 30
STEPS = 40
WITHIN_S = 60
COLLECTIVE_TIMEOUT_S, FROZEN_TIMEOUT_S, STALL_S = 30, 20, 15.0

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("CYCLEGAN_FAULTS") != "full", reason="half an hour: make faults"
    ),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    folder = tmp_path_factory.mktemp("hangs")
    store = make_store(
        folder / "s.zarr",
        mri=2,
        ct=2,
        paired=1,
        splits=("train", "train", "val"),
        shape=(4, 32, 32),
    )
    config = smoke()
    with warnings.catch_warnings(), ray_session(num_cpus=2):
        yield resolve(
            replace(
                config,
                run=replace(config.run, storage=str(folder)),
                data=replace(config.data, store=str(store.path), stall_s=STALL_S),
                train=replace(config.train, max_steps=STEPS),
                scale=replace(
                    config.scale,
                    workers=2,
                    collective_timeout_s=COLLECTIVE_TIMEOUT_S,
                    frozen_timeout_s=FROZEN_TIMEOUT_S,
                ),
                schedule=replace(config.schedule, save_every="5 steps", validate_every="never"),
            )
        )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(RUNS))
def test_no_fault_of_one_worker_hangs_a_run(
    base: Config, number: int, monkeypatch: pytest.MonkeyPatch
):
    draw, kind = random.Random(number), KINDS[number % len(KINDS)]
    step = draw.randint(1, STEPS - 5)
    # Of a loader only worker 0 tells the command; others mend theirs in silence.
    rank = 0 if kind == "loader" else draw.randrange(2)
    config = replace(base, run=replace(base.run, name=f"{kind}-{number}"))
    folder = config.run_folder
    assert isinstance(folder, Path)
    folder.mkdir()
    (folder / FAULT).write_text(json.dumps({"kind": kind, "rank": rank, "step": step}))
    monkeypatch.setattr(launch, "run_worker", run_worker_that_goes_wrong)

    launch.fit(config)

    assert checkpoint.verify_checkpoint(checkpoint.folder_of(folder, STEPS))["step"] == STEPS
    moments = [json.loads(line) for line in (folder / MOMENTS).read_text().splitlines()]
    (fault,) = [moment["at"] for moment in moments if moment["what"] == "fault"]
    after = [moment for moment in moments if moment["at"] > fault]
    back = {"start loader"} if kind == "loader" else {"start 0", "start 1"}
    assert {moment["what"] for moment in after} == back
    back_s = max(moment["at"] for moment in after) - fault
    notes = [line["note"] for line in read_lines(folder / METRICS) if "note" in line]
    (told,) = [note for note in notes if "restarted" in note]
    print(f"{kind} of worker {rank} at step {step}: back in {back_s:.0f} s; {told}")
    assert back_s < WITHIN_S
    if kind == "loader":  # mended within the worker, which says what hung
        assert "has made no progress" in told
    else:  # of a deadlock only those know that wait
        assert f"Worker {1 - rank if kind == 'deadlock' else rank} " in told
