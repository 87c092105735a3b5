"""Signals and kills: what is saved, how the command ends, and that the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cyclegan.config.config import Config
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run.signals import requests_to_stop, run_until_stopped, stop_requested
from cyclegan.train.training_run import VALIDATION_OWED
from cyclegan.train.validation import scores as validation_scores
from mrct import stop_signals
from mrct.errors import ExitCode

Start = Callable[..., subprocess.Popen[str]]
SIGNALS = [
    (signal.SIGTERM, ExitCode.PREEMPTED),
    (signal.SIGINT, ExitCode.FAILED),
    (signal.SIGHUP, ExitCode.PREEMPTED),
]
FULL = os.environ.get("CYCLEGAN_FAULTS") == "full"
if not FULL:
    SIGNALS = SIGNALS[:1]


@pytest.fixture
def start(config: Config) -> Iterator[Start]:
    """Start the same command, as often as a test likes; none of its processes outlives the test."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    words = [
        *(sys.executable, "-m", "cyclegan.train", "smoke", "--data.store", config.data.store),
        *("--run.storage", config.run.storage, "--run.name", "small"),
    ]
    started: list[subprocess.Popen[str]] = []

    def begin(*settings: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [*words, *settings],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], step: int, log: Path) -> None:
    """Until the run has logged a step."""
    wait_until(process, log, lambda line: "loss/generators" in line and line["step"] >= step)


def wait_until(
    process: subprocess.Popen[str], log: Path, says: Callable[[dict[str, Any]], bool]
) -> None:
    """Until a line of the log says so."""
    while not any(says(line) for line in read_lines(log)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def saved_step(config: Config) -> int:
    newest = checkpoint.newest_checkpoint(config.run_folder)
    assert newest is not None
    step: int = checkpoint.verify_checkpoint(newest)["step"]
    return step


def train_workers(offspring: list[psutil.Process]) -> list[psutil.Process]:
    """Those of a command's processes that train."""
    found = []
    for process in offspring:
        with suppress(psutil.NoSuchProcess):
            if "TrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_outlives_a_killed_worker_a_killed_command_and_signals_and_ends(config, start):
    """By the same command each time. SIGTERM ends it as preempted, with no traceback or lost step.
    `make faults` has SIGINT and SIGHUP too, and the end; without it
    `tests/flow/test_ray_job_phrase.py` shows that a run continues after SIGTERM, and ends."""
    log = config.run_folder / METRICS
    last = 200
    settings = ["--scale.workers", "2", "--train.max-steps", str(last)]
    settings += ["--schedule.save-every", "5 steps", "--schedule.validate-every", "never"]
    # A step takes 30 ms: the test follows the run by its log. This machine is shared.
    settings += ["--schedule.log-every", "2 steps", "--scale.grace-s", "100"]

    running = start(*settings)
    wait_for(running, 6, log)
    workers = train_workers(psutil.Process(running.pid).children(recursive=True))
    assert len(workers) == 2
    workers[1].kill()
    # Of two processes no one here can tell the rank.
    named = re.compile(r"warning: Worker [01] stopped responding .*; all workers were restarted")
    wait_until(running, log, lambda line: named.match(line.get("note", "")) is not None)
    wait_for(running, saved_step(config) + 10, log)
    offspring = psutil.Process(running.pid).children(recursive=True)
    workers = train_workers(offspring)
    running.kill()
    running.wait()
    _, left = psutil.wait_procs(workers, timeout=60)
    assert not left, "workers outlived the command that started them"
    for rest in offspring:  # agents of Ray that take longer to notice
        with suppress(psutil.NoSuchProcess):
            rest.kill()

    for number, code in SIGNALS:
        reached = saved_step(config)
        # The killed command may have logged steps beyond its checkpoint; a later one is new.
        logged = max(line["step"] for line in read_lines(log))
        running = start(*settings)
        wait_for(running, max(reached + 4, logged + 1), log)
        running.send_signal(number)
        printed, told = running.communicate(timeout=120)

        assert running.returncode == code, told
        assert "Traceback" not in told
        assert f"Resuming from step {reached}" in printed
        step = saved_step(config)
        assert f"saved at step {step} of {last}, nothing is lost" in told
        assert reached < step < last
        assert step >= max(line["step"] for line in read_lines(log))

    if FULL:
        again = start(*settings)
        printed, told = again.communicate(timeout=400)

        assert again.returncode == ExitCode.DONE, told
        assert f"Resuming from step {step}" in printed
        assert saved_step(config) == last
    times = [line["time_s"] for line in read_lines(log) if "time_s" in line]
    assert times == sorted(times)
    assert not stop_requested(config.run_folder)


@pytest.mark.parametrize(("grace_s", "looks"), [(10**6, [1, 2, 4]), (0, [1, 2, 3])])
def test_workers_save_at_the_step_where_they_look(config, grace_s, looks):
    """At every so many steps, and more often where those take long for the time there is."""
    asked: list[bool] = []

    def told() -> bool:
        asked.append(True)
        return len(asked) == len(looks)

    unvalidated = replace(config.schedule, validate_every="never")
    watchful = replace(
        config,
        guard=replace(config.guard, look_every_steps=2),
        schedule=unvalidated,
        scale=replace(config.scale, grace_s=grace_s),
    )
    state = train_worker(watchful, Worker(), stop_requested=told)

    assert state.step == saved_step(config) == looks[-1]


def test_a_validation_is_given_up_between_two_volumes_and_made_up_for(config, monkeypatch):
    looked_at: list[str] = []
    finding = validation_scores.score_cycle

    def counted(*arguments: Any, **store: Any) -> validation_scores.ValidatedVolume:
        looked_at.append("volume")
        return finding(*arguments, **store)

    monkeypatch.setattr(validation_scores, "score_cycle", counted)
    reported: list[dict[str, float]] = []

    state = train_worker(
        config, Worker(), report=reported.append, stop_requested=lambda: bool(looked_at)
    )

    assert state.step == saved_step(config) == 3  # the first validation of the smoke preset
    assert (len(looked_at), reported) == (1, [])
    newest = checkpoint.newest_checkpoint(config.run_folder)
    assert newest is not None
    assert not checkpoint.verify_checkpoint(newest)["validated"]

    train_worker(config, Worker(), report=reported.append)

    assert [scores["step"] for scores in reported] == [4, 6]
    made_up = checkpoint.folder_of(config.run_folder, 4)
    assert checkpoint.score_of(made_up) == reported[0]["val/selection"]
    assert not (config.run_folder / VALIDATION_OWED).exists()


def test_a_validation_that_was_due_when_a_run_stopped_is_made_up_for(config):
    """The stop is seen at the step of the validation, which has not begun."""
    asked: list[bool] = []
    watchful = replace(config, guard=replace(config.guard, look_every_steps=3))
    stopped: list[dict[str, float]] = []

    def told() -> bool:
        asked.append(True)
        return len(asked) == 2

    state = train_worker(watchful, Worker(), report=stopped.append, stop_requested=told)
    assert (state.step, stopped) == (3, [])

    reported: list[dict[str, float]] = []
    train_worker(watchful, Worker(), report=reported.append)
    assert [scores["step"] for scores in reported] == [4, 6]


def test_who_does_not_end_in_time_is_left_running(tmp_path):
    forever = threading.Event()
    with requests_to_stop(tmp_path) as came:
        came.append(signal.SIGTERM)

        assert not run_until_stopped(forever.wait, tmp_path, came, grace_s=0.3)
        assert stop_requested(tmp_path)
    forever.set()
    assert not stop_requested(tmp_path)


def test_who_gives_up_ends_with_the_message_and_its_code_though_a_thread_waits():
    script = (
        "import threading; from cyclegan.errors import PreemptedError; "
        "from cyclegan.train.run.signals import exit_immediately; "
        "threading.Thread(target=threading.Event().wait).start(); "
        "exit_immediately(PreemptedError('stopped'))"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (ExitCode.PREEMPTED, "error: stopped\n")


def test_a_second_signal_does_not_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(stop_signals, "REPEAT_S", 0.0)
    forever = threading.Event()
    with requests_to_stop(tmp_path) as came:
        signal.raise_signal(signal.SIGINT)  # os.kill may reach another thread, and two become one
        signal.raise_signal(signal.SIGINT)

        assert not run_until_stopped(forever.wait, tmp_path, came, grace_s=100)
    forever.set()


def test_an_error_of_the_work_reaches_the_command(tmp_path):
    def fail() -> None:
        raise OSError("no space")

    with requests_to_stop(tmp_path) as came, pytest.raises(OSError, match="no space"):
        run_until_stopped(fail, tmp_path, came, grace_s=1)
