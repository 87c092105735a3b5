"""A command submitted to a Ray cluster with token authentication runs there as it does here."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from cyclegan.train import checkpoint
from data_prep.store import open_store
from tests.stores import make_store
from tests.volumes import write_head

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Cluster(NamedTuple):
    address: str
    """For jobs."""
    head: str
    """For programs that join it."""
    env: dict[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head of our own on loopback, beside whatever Ray runs on this machine already."""
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    gcs, dashboard, agent, client = free_ports(4)
    # Not below pytest's folder: the path of a socket must be shorter than 108 characters.
    temp = Path(tempfile.mkdtemp(prefix="ray-"))
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            [
                *(BIN / "ray", "start", "--head", "--block", "--disable-usage-stats"),
                *("--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
                *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
                f"--temp-dir={temp}",
            ],
            cwd=folder,  # as on a cluster, where no worker starts in the project's folder
            env=env,
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(f"http://127.0.0.1:{dashboard}", head, folder / "head.log")
            yield Cluster(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", env)
        finally:
            stop(head)
            shutil.rmtree(temp, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def status_without_token(url: str) -> int | None:
    """The HTTP status that a stranger gets; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def wait_for(address: str, head: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 180
    while status_without_token(f"{address}/api/version") is None:
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.5)


def stop(head: subprocess.Popen[bytes]) -> None:
    """End the head and what it started, and no other Ray."""
    started = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.terminate()
    head.wait(60)
    for process in psutil.wait_procs(started, timeout=10)[1]:
        process.kill()


def call(cluster: Cluster, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command typed in the project's folder."""
    return subprocess.run(
        command, cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=400, check=False
    )


def test_a_submitted_training_ends_in_success_and_leaves_a_finished_run(cluster, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))

    submitted = call(
        cluster,
        *("ray", "job", "submit", "--address", cluster.address, "--working-dir", "."),
        *("--", "python", "-m", "cyclegan.train", "smoke"),
        *("--data.store", str(store.path), "--run.storage", str(tmp_path), "--run.name", "sent"),
    )

    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "succeeded" in submitted.stdout
    run = tmp_path / "sent"
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 6
    newest = checkpoint.newest(run)
    assert newest is not None
    assert checkpoint.verify(newest)["step"] == 6


def test_a_conversion_runs_on_the_cluster_that_is_named(cluster, tmp_path):
    for number in range(3):
        write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
    folder = os.path.relpath(tmp_path, ROOT)  # its workers have another working folder

    converted = call(
        cluster,
        *(sys.executable, "-m", "data_prep", "convert", "--ray-address", cluster.head),
        *("--mri", f"{folder}/mri", "--out", f"{folder}/s.zarr"),
        *("--spacing-mm", "6", "4", "4", "--size", "56", "48"),
    )

    assert converted.returncode == 0, converted.stdout + converted.stderr
    assert "convert: 3 of 3" in converted.stderr
    assert len(open_store(tmp_path / "s.zarr").volumes) == 3
    # A Ray of its own would have made the store too, but the head would know of no such program.
    jobs = call(cluster, "ray", "list", "jobs", "--address", cluster.address, "--format", "json")
    assert "data_prep" in str([job["entrypoint"] for job in json.loads(jobs.stdout)])


def test_our_submit_sends_the_project_alone_and_returns_the_jobs_exit_code(cluster):
    script = "import os, sys; print('files:', *sorted(os.listdir('.'))); sys.exit(3)"

    submitted = call(
        cluster,
        *(sys.executable, "-m", "cluster", "submit", "--target", "ray"),
        *("--address", cluster.address, "--", "python", "-c", script),
    )

    assert submitted.returncode == 3, submitted.stdout + submitted.stderr
    (files,) = (line.split() for line in submitted.stdout.splitlines() if line.startswith("files:"))
    assert {"cyclegan", "data_prep", "pyproject.toml"} <= set(files)
    assert not {".git", ".venv", "runs", "demo"} & set(files)


def test_a_stranger_without_the_token_is_refused(cluster, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text(secrets.token_hex(32))
    stranger = cluster._replace(env=cluster.env | {"RAY_AUTH_TOKEN_PATH": str(wrong)})

    submitted = call(
        stranger,
        *(sys.executable, "-m", "cluster", "submit", "--target", "ray"),
        *("--address", cluster.address, "--", "python", "-c", "print('inside')"),
    )

    assert status_without_token(f"{cluster.address}/api/jobs/") == 401
    assert submitted.returncode == 1
    assert "did not take the job" in submitted.stderr
    assert "Traceback" not in submitted.stderr
