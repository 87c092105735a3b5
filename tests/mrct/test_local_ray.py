"""A local Ray in places and at times that do not suit it: it works, or a message says why not."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from mrct.errors import ExitCode
from tests.support.nobody import NOBODY
from tests.support.ray_nodes import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]
COMMAND = """
import ray
from mrct.cli import run_command
from mrct.errors import ExitCode
from mrct.ray_session import ray_session

def main(argv):
    with ray_session(num_cpus=1):
        print(len(ray.nodes()), "node")
    return ExitCode.DONE

run_command(main)
"""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def start(folder: Path, inside: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A command that starts a Ray in a folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [*inside, sys.executable, "-c", COMMAND],
        env=env | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as sockets need; those of xdist's workers are too long."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short:
        yield Path(short)


def assert_refused(running: subprocess.Popen[str], reason: str) -> None:
    """That a command could not use its folder, and said how to choose another."""
    _, told = running.communicate(timeout=120)

    assert running.returncode == ExitCode.FAILED
    assert reason in told
    assert "Set RAY_TMPDIR to a folder of your own" in told
    assert "Traceback" not in told


def test_a_path_too_long_for_sockets_is_told(folder):
    long = folder / ("x" * 80)
    long.mkdir()

    assert_refused(start(long), "AF_UNIX path length")


@as_root
def test_the_ray_folder_of_another_user_is_told(folder):
    (folder / "ray").mkdir(mode=0o755)

    assert_refused(start(folder, NOBODY), "Permission denied")


@as_root
def test_a_user_without_name_and_home_needs_neither(folder):
    folder.chmod(0o777)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o111)

    running = start(folder, NOBODY)
    printed, told = running.communicate(timeout=120)

    assert (running.returncode, printed) == (ExitCode.DONE, "1 node\n"), told
    assert list((folder / "ray").glob("session_2*")) == [], "nothing of it is left"


def test_a_ray_that_hangs_as_it_starts_is_started_once_more(folder):
    running = start(folder)
    suspend_first(running.pid, lambda each: each.name() == "raylet")
    printed, told = running.communicate(timeout=300)

    assert (running.returncode, printed) == (ExitCode.DONE, "1 node\n"), told
    assert told.count("warning: Ray did not start") == 1
    assert "Traceback" not in told


def suspend_first(pid: int, wanted: Callable[[psutil.Process], bool]) -> None:
    """Freeze the first such process that a command starts."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for each in psutil.Process(pid).children(recursive=True):
            if wanted(each):
                each.suspend()
                return
        time.sleep(0.01)
    raise AssertionError("it starts none")
