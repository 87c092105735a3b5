"""P14: a search survives its workers and its bad trials; a population takes over. Kills of the
driver are in `search_kills`.

A minute or more each on a real Ray, so they run under `make faults`.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from cyclegan.train.checkpoint import checkpoint
from mrct.errors import ExitCode
from tests.faults.search_kills import command, finish, make_search_store, start, trials_of
from tune.search.event_log import EVENT_LOG

FULL = os.environ.get("CYCLEGAN_FAULTS") == "full"

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not FULL, reason="searches take minutes: make faults"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a small store lies, and the searches will."""
    return make_search_store(tmp_path_factory.mktemp("searches"))


def test_a_trial_whose_worker_is_killed_continues_from_its_checkpoint(folder):
    driver = start(command(folder, "worker", "weights", "--trials", "1"))
    killed = False
    while driver.poll() is None and not killed:
        time.sleep(0.05)
        scored = (folder / "worker" / EVENT_LOG).exists() and trials_of(folder, "worker")
        if not scored or not scored[0].scores:
            continue
        for process in psutil.Process(driver.pid).children(recursive=True):
            if "RayTrainWorker" in " ".join(process.cmdline()) and not killed:
                process.kill()
                killed = True

    assert driver.wait() == ExitCode.DONE
    assert killed
    (trial,) = trials_of(folder, "worker")
    assert (trial.state, [score.step for score in trial.scores]) == ("done", [6, 12, 18])


def test_sigterm_ends_a_search_as_preempted_and_it_continues(folder):
    argv = command(folder, "preempted", "weights", "--trials", "1")
    driver = start(argv)
    while not ((folder / "preempted" / EVENT_LOG).exists() and trials_of(folder, "preempted")):
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)

    assert driver.wait(60) == ExitCode.PREEMPTED
    assert finish([*argv, "--resume"]).returncode == ExitCode.DONE
    assert [trial.state for trial in trials_of(folder, "preempted")] == ["done"]


def test_a_store_that_goes_away_while_trials_train_ends_no_trial(folder):
    own, away = folder / "own.zarr", folder / "away.zarr"
    shutil.copytree(folder / "s.zarr", own)
    argv = command(folder, "outage", "weights", "--trials", "3", "--scheduler", "none")
    argv[argv.index("--data.store") + 1] = str(own)
    driver = start(argv)
    while not ((folder / "outage" / EVENT_LOG).exists() and trials_of(folder, "outage")):
        assert driver.poll() is None
        time.sleep(0.1)
    while not trials_of(folder, "outage")[0].scores:
        assert driver.poll() is None
        time.sleep(0.1)
    own.rename(away)

    assert driver.wait(200) == ExitCode.FAILED
    assert {trial.state for trial in trials_of(folder, "outage")} <= {"running", "done"}
    away.rename(own)
    assert finish([*argv, "--resume"]).returncode == ExitCode.DONE
    assert [trial.state for trial in trials_of(folder, "outage")] == ["done"] * 3


def test_a_trial_that_diverges_ranks_last_and_the_search_continues(folder):
    space = folder / "wild.yaml"
    space.write_text("optimizer.learning_rate: {choice: [1.0e+30, 2.0e-4, 1.0e-4]}\n")
    guard = ("--guard.max-streak", "2", "--guard.max-rollbacks", "0")

    done = finish(
        command(folder, "wild", str(space), "--sampler", "grid", "--scheduler", "none", *guard)
    )

    assert done.returncode == ExitCode.PARTLY_DONE, done.stdout + done.stderr
    by_rate = {t.values["optimizer.learning_rate"]: t for t in trials_of(folder, "wild")}
    assert by_rate[1e30].state == "failed"
    assert {by_rate[rate].state for rate in (2e-4, 1e-4)} == {"done"}
    assert "trials succeeded" in done.stdout


def test_a_full_disk_stops_a_search_that_continues_when_there_is_room(folder, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2500k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    argv = command(folder, "small", "weights", "--trials", "3", "--scheduler", "none")
    argv[argv.index("--storage") + 1] = str(disk)
    try:
        full = finish(argv)
        assert full.returncode == ExitCode.STORAGE_FULL, full.stdout + full.stderr
        assert "Storage is full" in full.stderr
        assert not any(trial.state == "failed" for trial in trials_of(disk, "small"))

        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert finish([*argv, "--resume"]).returncode == ExitCode.DONE
        assert [trial.state for trial in trials_of(disk, "small")] == ["done"] * 3
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_trial_of_a_population_continues_from_the_weights_of_another(folder):
    space = folder / "population.yaml"
    space.write_text("optimizer.learning_rate: {low: 1.0e-9, high: 1.0e-3, log: true}\n")

    done = finish(command(folder, "population", str(space), "--scheduler", "pbt", "--trials", "3"))

    assert done.returncode == ExitCode.DONE, done.stdout + done.stderr
    lines = (folder / "population" / EVENT_LOG).read_text().splitlines()
    exploits = [event for event in map(json.loads, lines) if event["event"] == "exploit"]
    assert exploits
    runs = folder / "population" / "runs"
    for event in exploits:
        own = runs / event["run"] / "checkpoints" / Path(event["start"]).name
        ours, theirs = (
            json.loads((each / checkpoint.FILE_HASHES).read_text())
            for each in (own, runs / event["start"])
        )
        # The state that the new run began with is the donor's, file by file and by its SHA-256;
        # `state.json` has the donor's score beside.
        assert {name for name in ours if ours[name] != theirs[name]} <= {checkpoint.STATE}
        assert "generators.safetensors" in ours
    assert all(trial.state == "done" for trial in trials_of(folder, "population"))
