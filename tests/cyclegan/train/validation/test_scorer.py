"""Scores that a process computes beside the training are those of the training's own process, and
its death costs no score.
"""

import os
import time
from dataclasses import replace
from functools import partial

import psutil
import pytest
import torch

from cyclegan.config.config import Config
from cyclegan.train.distributed import Worker
from cyclegan.train.validation.scorer import Scorer, ScorerProcess, open_scorer


def pid_of(store):
    return os.getpid(), store.path


def die_elsewhere(home, store):
    if os.getpid() != home:
        os._exit(1)
    return os.getpid()


def sleep(seconds, store):
    time.sleep(seconds)


def fail(store):
    raise ZeroDivisionError("of the work")


@pytest.mark.slow
def test_a_scorer_process_works_dies_and_is_replaced(store):
    scorer = ScorerProcess(store)
    try:
        first, path = scorer.submit(pid_of).result(60)
        assert (first, path) == (scorer.process.pid, store.path)
        assert first != os.getpid()

        assert scorer.submit(partial(die_elsewhere, os.getpid())).result(60) == os.getpid()
        assert scorer.restarts == 1

        second, _ = scorer.submit(pid_of).result(60)
        assert second not in (first, os.getpid())

        with pytest.raises(ZeroDivisionError, match="of the work"):
            scorer.submit(fail).result(60)
    finally:
        scorer.close()
    assert not psutil.pid_exists(second)


@pytest.mark.slow
def test_closing_a_scorer_waits_for_nothing(store):
    scorer = ScorerProcess(store)
    scorer.submit(pid_of).result(60)
    works = [scorer.submit(partial(sleep, 1000)) for _ in range(3)]

    began = time.monotonic()
    scorer.close()

    assert time.monotonic() - began < 30
    assert all(work.done() for work in works)


@pytest.mark.slow
def test_another_store_than_the_run_s_is_not_scored_in_the_process(store):
    scorer = ScorerProcess(replace(store, contents="another"))
    try:
        assert scorer.submit(pid_of).result(60)[0] == os.getpid()
    finally:
        scorer.close()


@pytest.mark.parametrize(
    ("device", "cores", "beside"),
    [("cuda:0", 3, True), ("cuda:0", 2, False), ("cpu", 2, False), ("cpu", 3, True)],
)
def test_scores_are_computed_beside_the_training_where_a_core_is_to_spare(
    store, monkeypatch, device, cores, beside
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(ScorerProcess, "__init__", Scorer.__init__)
    worker = Worker(device=torch.device(device), cores=cores)
    config = Config()

    assert open_scorer(store, config, worker).is_beside == beside

    deterministic = replace(config, train=replace(config.train, deterministic=True))
    assert not open_scorer(store, deterministic, worker).is_beside
    for choice in ("inline", "beside"):
        chosen = replace(deterministic, scale=replace(config.scale, scoring=choice))
        assert open_scorer(store, chosen, worker).is_beside == (choice == "beside")
