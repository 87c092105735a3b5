"""Scores that are computed beside the training arrive later, belong to their step, and change
nothing of the run.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from cyclegan.config.files import to_yaml
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.validation.scorer import Scorer
from mrct.storage.local_path import LocalPath
from tests.cyclegan.train.checkpoint.test_checkpoint import digest
from tests.support.gloo import run_workers


class KilledError(Exception):
    """Stands for a kill between two steps."""


class LateScorer(Scorer):
    """Computes in a thread, once it may."""

    is_beside = True

    def __init__(self, store):
        super().__init__(store)
        self.thread, self.may_go_on = ThreadPoolExecutor(1), threading.Event()
        self.is_closed = False

    def submit(self, work) -> Future:
        return self.thread.submit(self.compute, work)

    def compute(self, work):
        assert self.may_go_on.wait(60)
        return None if self.is_closed else work(store=self.store)

    def close(self):
        self.is_closed = True
        self.may_go_on.set()
        self.thread.shutdown()


@pytest.fixture
def beside(config):
    guard = replace(config.guard, look_every_steps=1)
    return replace(config, guard=guard, scale=replace(config.scale, scoring="beside"))


@pytest.fixture
def scorer(store, monkeypatch):
    late = LateScorer(store)
    monkeypatch.setattr(loop, "open_scorer", lambda *_: late)
    return late


def logged(config, name="val/selection"):
    lines = [line for line in read_lines(config.run_folder / METRICS) if name in line]
    return [(line["step"], line[name]) for line in lines]


def unscored(config):
    return [int(each.name[5:]) for each in checkpoint.unscored_checkpoints(config.run_folder)]


def before_steps(monkeypatch, do):
    """Call `do(step)` before each step."""
    train_step = loop.train_step

    def step_and_do(state, *arguments):
        do(state.step)
        return train_step(state, *arguments)

    monkeypatch.setattr(loop, "train_step", step_and_do)


def test_training_goes_on_while_scores_are_computed_and_they_come_late(
    beside, finished, scorer, monkeypatch
):
    seen: list[object] = []

    def let_go(step):
        if step == 4:
            seen.extend([logged(beside), unscored(beside)])
            scorer.may_go_on.set()
        if step == 5:  # there is a look after each step, and two make a validation
            until = time.monotonic() + 60
            while scorer.thread._work_queue.qsize() and time.monotonic() < until:
                time.sleep(0.01)

    before_steps(monkeypatch, let_go)
    reports: list[dict[str, float]] = []
    state = train_worker(beside, Worker(), reports.append)

    assert seen == [[], [3]]
    assert reports == finished.reports
    assert logged(beside) == logged(finished.config)
    assert unscored(beside) == []
    assert digest(state) == digest(finished.state)
    best = [checkpoint.best_checkpoint(each.run_folder).name for each in (beside, finished.config)]
    assert best[0] == best[1]


def test_a_kill_before_the_score_leaves_it_to_the_next_start(beside, finished, scorer, monkeypatch):
    def kill(step):
        if step == 5:
            raise KilledError

    with monkeypatch.context() as patch:
        before_steps(patch, kill)
        with pytest.raises(KilledError):
            train_worker(beside, Worker())
    assert unscored(beside) == [3]
    monkeypatch.undo()
    inline = replace(beside, scale=replace(beside.scale, scoring="inline"))

    reports: list[dict[str, float]] = []
    state = train_worker(inline, Worker(), reports.append)

    assert unscored(beside) == []
    assert logged(beside) == logged(finished.config)
    assert reports == finished.reports
    assert digest(state) == digest(finished.state)


def test_a_stop_does_not_wait_for_scores(beside, scorer, monkeypatch):
    steps: list[int] = []
    before_steps(monkeypatch, steps.append)

    state = train_worker(beside, Worker(), stop_requested=lambda: 4 in steps)

    assert state.step == 5
    assert unscored(beside) == [3]
    assert logged(beside) == []


def test_the_next_validation_waits_for_the_scores_of_the_one_before(beside, scorer, monkeypatch):
    often = replace(
        beside,
        schedule=replace(beside.schedule, validate_every="1 step"),
        train=replace(beside.train, max_steps=2),
    )
    begun: list[int] = []

    def note(step):
        begun.append(step)
        if step == 1:  # the second validation is about to begin
            threading.Timer(0.5, scorer.may_go_on.set).start()

    before_steps(monkeypatch, note)
    train_worker(often, Worker())

    assert [step for step, _ in logged(often)] == [1, 2]


@pytest.mark.slow
def test_workers_with_scorer_processes_of_their_own_score_as_one_worker_at_once(beside, finished):
    path = LocalPath(beside.run_folder.parent / "config.yaml")
    path.parent.make_folder()
    path.write_text(to_yaml(beside))
    body = """
reports = []
train_worker(config, meet(2), reports.append)
assert [report["step"] for report in reports] == [3, 6], reports
"""
    run_workers(body, path, 2)

    assert unscored(beside) == []
    for (step, score), (other, expected) in zip(
        logged(beside), logged(finished.config), strict=True
    ):
        assert step == other
        assert score == pytest.approx(expected, rel=1e-3)  # gradients are summed in another order


@pytest.mark.slow
def test_a_scorer_that_dies_costs_a_line_and_no_score(beside, finished, monkeypatch):
    def kill(step):
        if step == 3:
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):  # those of earlier tests may be ending
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()

    before_steps(monkeypatch, kill)
    state = train_worker(beside, Worker())

    assert logged(beside) == logged(finished.config)
    assert digest(state) == digest(finished.state)
    notes = [line["note"] for line in read_lines(beside.run_folder / METRICS) if "note" in line]
    assert sum("died, 1 times so far" in note for note in notes) == 1
