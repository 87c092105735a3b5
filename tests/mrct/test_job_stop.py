"""A command in a Ray job ends as it would elsewhere, and saves though the job is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from mrct.job_stop import JOB_VARIABLE, STOP_WAIT_VARIABLE
from tests.support.ray_nodes import ROOT

HEAD = """
import os, signal, sys, time
from pathlib import Path
from mrct import job_stop
job_stop.END_S, job = {end_s}, os.getpid()
job_stop.outlive_job_stop(2, "--grace")
"""
SAVES = """
def save(number, frame):
    time.sleep(1)
    Path("saved").write_text(signal.Signals(number).name)
    sys.exit(5)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
Path("begun").write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path) -> Iterator:
    """Start a command as Ray's job server does; nothing of it is left after the test."""

    def begin(script: str, left_s: int = 1, end_s: float = 30) -> subprocess.Popen:
        env = os.environ | {
            JOB_VARIABLE: "{}",
            STOP_WAIT_VARIABLE: str(left_s),
            "PYTHONPATH": str(ROOT),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", HEAD.format(end_s=end_s) + script],
                cwd=tmp_path,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    started: list[subprocess.Popen] = []
    yield begin
    for job in started:
        job.communicate(timeout=60)
    if (tmp_path / "begun").exists():
        assert not psutil.pid_exists(int((tmp_path / "begun").read_text()))


def wait_for(file) -> str:
    until = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < until, f"{file} does not come"
        time.sleep(0.05)
    return file.read_text()


def wait_until_gone(pid: int) -> None:
    for process in [psutil.Process(pid)] if psutil.pid_exists(pid) else []:
        process.wait(60)


def test_the_job_has_the_output_and_the_exit_code_of_the_work(start):
    ended = start("print('beside', os.getpid() != job, os.getppid() != job); sys.exit(3)")

    printed, _ = ended.communicate(timeout=60)
    assert ended.returncode == 3
    assert printed.splitlines()[0].startswith("A stop of this Ray job leaves 1 s, less than")
    assert printed.splitlines()[1:] == ["beside True True"]


def test_work_that_is_killed_ends_the_job_as_a_shell_would(start):
    killed = start("os.kill(os.getpid(), signal.SIGKILL)")
    killed.communicate(timeout=60)

    assert killed.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_as_ray_does_it_leaves_time_to_save(start, tmp_path, number):
    job = start(SAVES)
    work = int(wait_for(tmp_path / "begun"))
    processes = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    assert work not in [each.pid for each in processes]

    for each in processes:
        each.send_signal(number)
    time.sleep(0.3)
    os.killpg(job.pid, signal.SIGKILL)

    assert wait_for(tmp_path / "saved") == number.name
    wait_until_gone(work)


def test_a_job_that_is_killed_without_a_signal_saves_too(start, tmp_path):
    job = start(SAVES)
    work = int(wait_for(tmp_path / "begun"))

    job.kill()

    assert wait_for(tmp_path / "saved") == "SIGTERM"
    wait_until_gone(work)


def test_work_that_does_not_end_is_killed(start, tmp_path):
    job = start(SAVES.replace("save)", "signal.SIG_IGN)"), end_s=0)
    work = int(wait_for(tmp_path / "begun"))

    job.terminate()

    wait_until_gone(work)
    job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("left_s", [2, 120])
def test_where_the_stop_leaves_enough_the_job_does_the_work_itself(start, left_s):
    printed, _ = start("print('same', os.getpid() == job)", left_s).communicate(timeout=60)

    assert printed.splitlines() == [
        f"A stop of this Ray job leaves {left_s} s; saving gets --grace 2 s.",
        "same True",
    ]


@pytest.mark.parametrize("command", [("cyclegan.train", "smoke"), ("tune", "run", "weights")])
def test_a_run_and_a_search_outlive_the_stop_and_pass_on_their_exit_code(command, tmp_path):
    env = {name: value for name, value in os.environ.items() if name != STOP_WAIT_VARIABLE}
    storage = "--storage" if command[0] == "tune" else "--run.storage"

    ended = subprocess.run(
        [
            *(sys.executable, "-m", *command, storage, str(tmp_path)),
            *("--data.store", str(tmp_path / "nowhere.zarr")),
        ],
        env=env | {JOB_VARIABLE: "{}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stdout.startswith(
        "A stop of this Ray job leaves 3 s, less than --scale.grace-s 25"
    )
    assert "error: There is no store at" in ended.stderr
