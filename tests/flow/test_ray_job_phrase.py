"""`ray job submit -- python -m cyclegan.train`, with the paths of volumes and runs in the
environment of the cluster."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclegan.train.checkpoint.resume import done_steps
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from tests.support.ray_nodes import PHRASE, ROOT, Cluster, head
from tests.support.stores import make_store

pytestmark = [pytest.mark.ray, pytest.mark.slow]
STEPS = 150
SMALL = ("smoke", "--train.max-steps", str(STEPS), "--schedule.validate-every", "never")
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


def submit_and_stop(cluster: Cluster, runs: Path) -> tuple[str, int]:
    """Submit the phrase and stop its job once it has logged a new step.

    Returns what the job printed, and the step that the run is saved at.
    """
    before = logged(runs)
    with subprocess.Popen(
        (*PHRASE, *SMALL), cwd=ROOT, env=cluster.env, stdout=subprocess.PIPE, text=True
    ) as submitted:
        try:
            wait_for(lambda: logged(runs) > before or submitted.poll() is not None, 400)
            (job,) = running_jobs(cluster)
            stopped = cluster.call("ray", "job", "stop", job)
        finally:
            submitted.kill()
    assert "was stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    wait_for(lambda: "Stopped by SIGTERM" in cluster.printed(job), 120)
    (run,) = runs.iterdir()
    return cluster.call("ray", "job", "logs", job).stdout, done_steps(run)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.5)


def running_jobs(cluster: Cluster) -> list[str]:
    """The names of the jobs that run."""
    listed = cluster.call("ray", "job", "list").stdout
    return [
        part.split("submission_id='")[1].split("'")[0]
        for part in listed.split("JobDetails(")[1:]
        if "JobStatus.RUNNING" in part and "submission_id='" in part
    ]


def test_the_phrase_is_stopped_continues_and_ends(cluster, runs):
    printed, saved = submit_and_stop(cluster, runs)
    assert f"saved at step {saved} of {STEPS}, nothing is lost" in printed
    assert saved >= 1

    ended = cluster.call(*PHRASE, *SMALL)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"Resuming from step {saved} of {STEPS}" in ended.stdout
    assert "succeeded" in ended.stdout
    (run,) = runs.iterdir()
    assert done_steps(run) == STEPS
