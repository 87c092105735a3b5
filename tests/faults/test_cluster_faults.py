"""A machine of a cluster goes in the middle of a training or a search, with notice or without: it
ends as if none had.

Two real Ray nodes on this machine, with a token; a job of the real job server. Under `make faults`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.monitor.metrics_log import read_lines
from mrct.errors import ExitCode
from mrct.storage.atomic import PARTIAL
from tests.support.ray_nodes import ROOT, Cluster, head, kill, node, submitted_job
from tests.support.stores import make_store
from tune.search.event_log import EVENT_LOG, EventLog

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("CYCLEGAN_FAULTS") != "full", reason="only in `make faults`: two minutes"
    ),
]
STEPS, SAVE_EVERY = 400, 50
NOTICE_S = 40


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A head that trains nothing, as on Kubernetes: its loss would be that of the command."""
    with head(tmp_path, cpus=0) as started:
        yield started


def training(store: Path, runs: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "cyclegan.train", "smoke", "--train.max-steps", str(STEPS)),
        *("--scale.workers", "2", "--scale.cpus-per-worker", "1"),
        *("--scale.collective-timeout-s", "20"),
        *("--schedule.save-every", f"{SAVE_EVERY} steps", "--schedule.validate-every", "200 steps"),
        *("--data.store", str(store), "--run.storage", str(runs), "--run.name", "run", *more),
    ]


def wait_for_step(run: Path, step: int) -> None:
    until = time.monotonic() + 240
    while not any(line["step"] >= step for line in read_lines(run / "metrics.jsonl")):
        assert time.monotonic() < until, "the training does not come on"
        time.sleep(0.2)


@pytest.mark.parametrize("elastic", [True, False], ids=["fewer", "another comes"])
def test_a_run_outlives_a_node(cluster, tmp_path, elastic):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    run = tmp_path / "run"
    more = ["--scale.min-workers", "1"] if elastic else []
    command = training(store.path, tmp_path, *more)
    submit = [sys.executable, "-m", "cluster", "submit", "--target", "ray"]
    submit += ["--address", cluster.address]
    with (
        node(cluster, "first", "--num-cpus=1"),
        node(cluster, "second", "--num-cpus=1") as second,
    ):
        joined = cluster.call(
            "python", "-m", "cluster.wait_for_nodes", "3", RAY_ADDRESS=cluster.head
        )
        assert joined.returncode == 0, joined.stderr
        sent = cluster.call(*submit, "--no-wait", "--", *command)
        job = submitted_job(sent.stdout)
        wait_for_step(run, 2 * SAVE_EVERY + 10)
        kill(second)

        if elastic:
            ended = outcome(cluster, job)
        else:
            with node(cluster, "third", "--num-cpus=1"):
                ended = outcome(cluster, job)

    logs = cluster.call("ray", "job", "logs", "--address", cluster.address, job).stdout
    assert ended == "SUCCEEDED", logs
    lines = read_lines(run / "metrics.jsonl")
    steps = [line["step"] for line in lines if "loss/generators" in line]
    assert steps == list(range(2, STEPS + 1, 2)), "each step is told once, none is left out"
    kept = checkpoint.saved_checkpoints(run)
    assert [int(checkpoint.verify_checkpoint(folder)["step"]) for folder in kept][-2:] == [
        STEPS - SAVE_EVERY,
        STEPS,
    ]
    assert not list((run / "checkpoints").glob(f"{PARTIAL}*"))


def test_a_search_outlives_a_node(cluster, tmp_path):
    """No trial is lost, and none has a step or a score twice."""
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    search, look = tmp_path / "search", STEPS // 4
    command = [
        *(sys.executable, "-m", "tune", "run", "weights", "--preset", "smoke", "--trials", "2"),
        *("--scheduler", "none", "--look-every", str(look), "--train.max-steps", str(STEPS)),
        *("--scale.workers", "1", "--scale.cpus-per-worker", "1", "--name", "search"),
        *("--data.store", str(store.path), "--storage", str(tmp_path)),
    ]
    # Not a job: nodes of one machine share its working directory, and the first that needs it no
    # longer removes it.
    with (
        node(cluster, "first", "--num-cpus=1"),
        node(cluster, "second", "--num-cpus=1") as second,
        (tmp_path / "log").open("w") as log,
    ):
        joined = cluster.call(
            "python", "-m", "cluster.wait_for_nodes", "3", RAY_ADDRESS=cluster.head
        )
        assert joined.returncode == 0, joined.stderr
        env = cluster.env | {"RAY_ADDRESS": cluster.head}
        driver = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            for name in ("t000", "t001"):  # one on each node
                wait_for_step(search / "runs" / name, look + 10)
            kill(second)
            ended = driver.wait(300)
        finally:
            driver.kill()

    logs = (tmp_path / "log").read_text()
    assert ended == ExitCode.DONE, logs
    for trial in EventLog(search / EVENT_LOG, writes=False).trials:
        assert trial.state == "done", logs
        assert [score.step for score in trial.scores] == list(range(look, STEPS + 1, look))
        lines = read_lines(search / "runs" / trial.run / "metrics.jsonl")
        steps = [line["step"] for line in lines if "loss/generators" in line]
        assert steps == list(range(2, STEPS + 1, 2))


def test_a_run_saves_before_a_node_goes_that_gave_notice_and_ends(cluster, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    run = tmp_path / "run"
    # Every save, but for the first and the last, has the notice for its reason.
    more = ["--scale.min-workers", "1", "--schedule.save-every", "never"]
    submit = [sys.executable, "-m", "cluster", "submit", "--target", "ray"]
    submit += ["--address", cluster.address, "--no-wait", "--"]
    with (
        node(cluster, "first", "--num-cpus=1"),
        node(cluster, "spot", "--num-cpus=1", '--resources={"spot": 1}') as spot,
    ):
        sent = cluster.call(*submit, *training(store.path, tmp_path, *more))
        job = submitted_job(sent.stdout)
        wait_for_step(run, 10)

        told = cluster.call(
            *("ray", "drain-node", "--address", cluster.head),
            *("--node-id", node_with(cluster, "spot")),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "reclaimed"),
            *("--deadline-remaining-seconds", str(NOTICE_S)),
        )
        assert told.returncode == 0, told.stderr
        saved = set()
        until = time.monotonic() + NOTICE_S
        while not saved:
            assert time.monotonic() < until, "nothing is saved before the machine goes"
            saved = steps_saved(run) - {0}
            time.sleep(0.2)
        kill(spot)
        ended = outcome(cluster, job)

    assert 10 < min(saved) < STEPS
    assert ended == "SUCCEEDED"
    assert max(steps_saved(run)) == STEPS
    steps = [
        line["step"] for line in read_lines(run / "metrics.jsonl") if "loss/generators" in line
    ]
    assert steps == list(range(2, STEPS + 1, 2))


def steps_saved(run: Path) -> set[int]:
    return {
        int(checkpoint.verify_checkpoint(folder)["step"])
        for folder in checkpoint.saved_checkpoints(run)
    }


def node_with(cluster: Cluster, resource: str) -> str:
    """The id of the node that has a resource."""
    listed = cluster.call("ray", "list", "nodes", "--address", cluster.address, "--format", "json")
    (found,) = (n for n in json.loads(listed.stdout) if resource in n["resources_total"])
    return str(found["node_id"])


def outcome(cluster: Cluster, job: str) -> str:
    """How a job ended."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        told = cluster.call("ray", "job", "status", "--address", cluster.address, job).stdout
        for status in ("SUCCEEDED", "FAILED", "STOPPED"):
            if status in told.upper():
                return status
        time.sleep(2)
    return "does not end"


def test_a_cluster_without_any_machine_grows_for_a_run(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    with head(tmp_path, cpus=0, grows=True) as cluster:
        submit = [sys.executable, "-m", "cluster", "submit", "--target", "ray"]
        submit += ["--address", cluster.address]

        too_many = [*training(store.path, tmp_path), "--scale.workers", "3", "--batch.shards", "3"]
        refused = cluster.call(*submit, "--", *too_many)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "it has room for 2" in refused.stdout

        ended = cluster.call(*submit, "--", *training(store.path, tmp_path))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    newest = checkpoint.newest_checkpoint(tmp_path / "run")
    assert newest is not None
    assert checkpoint.verify_checkpoint(newest)["step"] == STEPS
