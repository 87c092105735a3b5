"""`ray job submit -- python -m cyclegan.train`, with the paths of volumes and runs in the
environment of the cluster."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from tests.support.ray_nodes import (
    PHRASE,
    ROOT,
    Cluster,
    head,
    offspring,
    wait_until_nothing_is_left,
    words,
)
from tests.support.stores import make_store

pytestmark = [pytest.mark.ray, pytest.mark.slow]
STEPS = 150
SMALL = (
    *("smoke", "--train.max-steps", str(STEPS), "--scale.grace-s", "100"),
    *("--schedule.save-every", "never", "--schedule.validate-every", "never"),
)
"""The default preset would train for days on a CPU."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def cluster(tmp_path: Path, runs: Path) -> Iterator[Cluster]:
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"), shape=(4, 32, 32))
    with head(tmp_path, CYCLEGAN_STORE=str(store.path), CYCLEGAN_STORAGE=str(runs)) as started:
        yield started._replace(env=started.env | {"RAY_API_SERVER_ADDRESS": started.address})


def logged(runs: Path) -> int:
    """The last step that the log of the only run has; 0 before there is any."""
    lines = [line for log in runs.glob(f"*/{METRICS}") for line in read_lines(log)]
    return max((line["step"] for line in lines), default=0)


def saved(runs: Path) -> int:
    """The step of the only run's newest checkpoint, which is whole."""
    (run,) = runs.iterdir()
    newest = checkpoint.newest_checkpoint(run)
    assert newest is not None
    return int(checkpoint.verify_checkpoint(newest)["step"])


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize("workers", [1, 2] if os.environ.get("CYCLEGAN_FAULTS") == "full" else [2])
def test_the_phrase_is_stopped_saves_after_ray_has_killed_it_continues_and_ends(
    cluster, runs, tmp_path, workers
):
    """The workers are frozen while Ray waits its 3 s, so that they cannot save before its kill."""
    phrase = (*PHRASE, *SMALL, "--scale.workers", str(workers))
    with subprocess.Popen(phrase, cwd=ROOT, env=cluster.env, stdout=subprocess.PIPE) as submitted:
        try:
            wait_for(lambda: logged(runs) > 0 or submitted.poll() is not None, 400)
            frozen = train_workers(cluster)
            assert len(frozen) == workers
            for each in frozen:
                each.suspend()
            (job,) = (
                job["submission_id"] for job in cluster.ask("") if job["type"] == "SUBMISSION"
            )
            stopped = cluster.call("ray", "job", "stop", job)
            for each in frozen:
                each.resume()
        finally:
            submitted.kill()
    assert "was stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    assert not psutil.wait_procs(frozen, timeout=100)[1]

    step = saved(runs)
    assert 1 <= step < STEPS
    printed = cluster.wait_for(f"saved at step {step} of {STEPS}, nothing is lost", job)
    assert "A stop of this Ray job leaves 3 s, less than --scale.grace-s 100 s" in printed
    wait_until_nothing_is_left(cluster, tmp_path)

    ended = cluster.call(*phrase)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"Resuming from step {step} of {STEPS}" in ended.stdout
    assert "succeeded" in ended.stdout
    assert saved(runs) == STEPS


def train_workers(cluster: Cluster) -> list[psutil.Process]:
    return [each for each in offspring(cluster.process) if "TrainWorker" in words(each)]
