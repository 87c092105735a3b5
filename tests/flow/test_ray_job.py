"""A command submitted to a Ray cluster with token authentication runs there as it does here."""

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator

import pytest

from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.resume import done_steps
from cyclegan.train.monitor.metrics_log import read_lines
from data_prep.store.store import open_store
from tests.support.ray_nodes import (
    PHRASE,
    ROOT,
    Cluster,
    head,
    status_without_token,
    submitted_job,
    wait_until_nothing_is_left,
)
from tests.support.stores import make_store
from tests.support.volumes import write_head
from tune.search.event_log import EVENT_LOG, EventLog, Trial

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with head(tmp_path_factory.mktemp("head")) as started:
        yield started


def test_a_plain_search_that_is_stopped_continues_with_the_same_command_and_ends(cluster, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"), shape=(4, 32, 32))
    log, steps, every = tmp_path / "sent" / EVENT_LOG, 300, 50
    submit = ("ray", "job", "submit", "--address", cluster.address, "--working-dir", ".")
    search = (
        *("--", "python", "-m", "tune", "run", "weights", "--preset", "smoke", "--trials", "1"),
        *("--train.max-steps", str(steps), "--look-every", str(every), "--resume"),
        *("--data.store", str(store.path), "--storage", str(tmp_path), "--name", "sent"),
    )

    def trial() -> Trial:
        (only,) = EventLog(log, writes=False).trials
        return only

    submitted = cluster.call(*submit, "--submission-id", "search", "--no-wait", *search)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    until = time.monotonic() + 400
    while not (log.exists() and trial().scores):
        assert time.monotonic() < until, cluster.printed("search")
        time.sleep(0.2)
    assert cluster.ask("search/stop", "POST")["stopped"]
    cluster.wait_for("Stopped by SIGTERM. 0 of 1 trials ended", "search")
    wait_until_nothing_is_left(cluster, tmp_path)
    kept, run = trial(), tmp_path / "sent" / "runs" / "t000"
    assert kept.state == "running"
    assert every <= kept.step <= done_steps(run) < steps  # the run may have saved what was not told

    ended = cluster.call(*submit, *search)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"tune: t000 resumes from step {kept.step}" in ended.stdout
    assert "tune: t000 is done" in ended.stdout
    assert (trial().state, [score.step for score in trial().scores]) == (
        "done",
        [*range(every, steps + 1, every)],
    )
    assert trial().scores[: len(kept.scores)] == kept.scores
    assert (tmp_path / "sent" / "best.yaml").exists()


def test_a_conversion_runs_on_the_cluster_that_is_named(cluster, tmp_path):
    for number in range(3):
        write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
    folder = os.path.relpath(tmp_path, ROOT)  # its workers have another working folder

    converted = cluster.call(
        *(sys.executable, "-m", "data_prep", "convert", "--ray-address", cluster.head),
        *("--mri", f"{folder}/mri", "--out", f"{folder}/s.zarr"),
        *("--spacing-mm", "6", "4", "4", "--size", "56", "48"),
    )

    assert converted.returncode == 0, converted.stdout + converted.stderr
    assert "convert: 3 of 3" in converted.stderr
    assert len(open_store(tmp_path / "s.zarr").volumes) == 3
    # A Ray of its own would have made the store too, but the head would know of no such program.
    jobs = cluster.call("ray", "list", "jobs", "--address", cluster.address, "--format", "json")
    assert "data_prep" in str([job["entrypoint"] for job in json.loads(jobs.stdout)])


def test_our_submit_sends_the_project_alone_and_returns_the_jobs_exit_code(cluster):
    script = "import os, sys; print('files:', *sorted(os.listdir('.'))); sys.exit(3)"

    submitted = cluster.call(
        *(sys.executable, "-m", "cluster", "submit", "--target", "ray"),
        *("--address", cluster.address, "--", "python", "-c", script),
    )

    assert submitted.returncode == 3, submitted.stdout + submitted.stderr
    (files,) = (line.split() for line in submitted.stdout.splitlines() if line.startswith("files:"))
    assert {"cyclegan", "data_prep", "pyproject.toml"} <= set(files)
    assert not {".git", ".venv", "runs", "demo"} & set(files)
    assert re.match(r"Sending \d{3,} files, \d+\.\d MiB", submitted.stdout)


def test_a_caller_without_the_token_is_refused(cluster, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text(secrets.token_hex(32))
    caller = cluster._replace(env=cluster.env | {"RAY_AUTH_TOKEN_PATH": str(wrong)})

    submitted = caller.call(
        *(sys.executable, "-m", "cluster", "submit", "--target", "ray"),
        *("--address", cluster.address, "--", "python", "-c", "print('inside')"),
    )

    assert status_without_token(f"{cluster.address}/api/jobs/") == 401
    assert submitted.returncode == 1
    assert "did not accept the job" in submitted.stderr
    assert "Traceback" not in submitted.stderr


def test_a_submitted_job_that_is_stopped_has_time_to_save_and_leaves_nothing_running(
    cluster, tmp_path
):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    run, steps = tmp_path / "sent", 1000
    training = [
        *("python", "-m", "cyclegan.train", "smoke", "--train.max-steps", str(steps)),
        *("--schedule.save-every", "never", "--schedule.validate-every", "never"),
        *("--data.store", str(store.path), "--run.storage", str(tmp_path), "--run.name", "sent"),
    ]
    submit = [sys.executable, "-m", "cluster", "submit", "--target", "ray"]
    submit += ["--address", cluster.address]

    submitted = cluster.call(*submit, "--no-wait", "--", *training)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    job = submitted_job(submitted.stdout)
    until = time.monotonic() + 180
    while not any(line["step"] >= 20 for line in read_lines(run / "metrics.jsonl")):
        assert time.monotonic() < until, cluster.printed(job)
        time.sleep(0.2)
    stopped = cluster.call("ray", "job", "stop", "--address", cluster.address, job)

    assert "was stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    newest = checkpoint.newest_checkpoint(run)
    assert newest is not None
    saved = checkpoint.verify_checkpoint(newest)["step"]
    assert 20 <= saved < steps
    wait_until_nothing_is_left(cluster, tmp_path)


def test_a_command_of_another_ray_version_is_told_before_the_run_is_locked(cluster, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    command = (
        "import ray; ray.__version__ = '2.9.0'; from cyclegan.train.__main__ import main; "
        "from mrct.cli import run_command; run_command(main)"
    )

    ended = cluster.call(
        *(sys.executable, "-c", command, "smoke", "--data.store", str(store.path)),
        *("--run.storage", str(tmp_path), "--run.name", "other"),
        RAY_ADDRESS=cluster.head,
    )

    assert ended.returncode == 1
    assert "Ray: 2.9.0" in ended.stderr
    assert "HOST:PORT of a running head" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "other").exists()


def test_the_phrase_without_the_variables_is_wrong_use(cluster):
    """Those that `test_ray_job_phrase.py` sets on its cluster."""
    ended = cluster.call(*PHRASE, RAY_API_SERVER_ADDRESS=cluster.address)

    assert "failed with exit code 2" in ended.stdout + ended.stderr
    assert "Set --run.storage, or CYCLEGAN_STORAGE" in ended.stdout
