"""Kills of the driver of a search, and the trials and scores that it must end with."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrct.errors import ExitCode
from mrct.storage.local_path import LocalPath
from tests.faults.by_pytest import ROOT
from tests.faults.injections import Inject
from tests.support.stores import make_store
from tune.search.event_log import EVENT_LOG, EventLog, Trial

KILLS_OF_A_SEARCH = 2
SEARCH = ("weights", "--sampler", "random", "--scheduler", "none", "--trials", "3")
IMPORTS_S = 5
"""Of a driver, before which there is nothing to kill."""


def make_search_store(folder: Path) -> Path:
    """A small store in a folder, where the searches will lie too."""
    make_store(folder / "s.zarr", mri=2, ct=2, splits=("train", "val"), shape=(4, 32, 32))
    return folder


def command(folder: Path, name: str, space: str, *more: str) -> list[str]:
    """A search of 18 steps a trial, with a look every 6."""
    return [
        *(sys.executable, "-m", "tune", "run", space, "--preset", "smoke", "--name", name),
        *("--storage", str(folder), "--data.store", str(folder / "s.zarr")),
        *("--look-every", "6", "--train.max-steps", "18", "--guard.look-every-steps", "1"),
        *more,
    ]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def finish(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def trials_of(folder: Path, name: str) -> list[Trial]:
    return EventLog(folder / name / EVENT_LOG, writes=False).trials


def outcome(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """All that a search found, but for when."""
    return [
        (trial.name, trial.values, trial.state, [(s.step, s.value) for s in trial.scores])
        for trial in trials
    ]


HANGS_AFTER_S = 900


@contextmanager
def kills_of_drivers(folder: LocalPath) -> Iterator[Inject]:
    """Each injection kills the driver of one search `KILLS_OF_A_SEARCH` times."""
    make_search_store(folder)
    started = time.monotonic()
    assert finish(command(folder, "unbroken", *SEARCH)).returncode == ExitCode.DONE
    whole_s = time.monotonic() - started
    expected = outcome(trials_of(folder, "unbroken"))
    assert len(expected) == 3

    def inject(number: int) -> None:
        draw, kills, searches = random.Random(number), 0, 0
        while kills < KILLS_OF_A_SEARCH:
            name = f"killed-{number}-{searches}"
            searches += 1
            is_done = False
            while not is_done:
                driver = start([*command(folder, name, *SEARCH), "--resume"])
                until = time.monotonic() + draw.uniform(IMPORTS_S, whole_s)
                spared = kills == KILLS_OF_A_SEARCH
                gives_up = time.monotonic() + HANGS_AFTER_S
                while driver.poll() is None and (spared or time.monotonic() < until):
                    assert time.monotonic() < gives_up, "the driver hangs"
                    time.sleep(0.05)
                if is_done := driver.poll() is not None:
                    assert driver.returncode == ExitCode.DONE
                else:
                    driver.kill()
                    driver.wait()
                    kills += 1
            assert outcome(trials_of(folder, name)) == expected

    yield inject
