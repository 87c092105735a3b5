"""The ledger is all that a search remembers: every event survives, in order, and nothing else."""

import os
from pathlib import Path

import pytest

from mrct.errors import UserError
from tests.support.searches import ended, values, write_search
from tune.search.event_log import EVENT_LOG, EventLog, rank_trials
from tune.search.trial_score import Objective

SELECTION = Objective()


def test_reading_gives_back_what_was_written(tmp_path):
    written = write_search(tmp_path / "s")

    read = EventLog(tmp_path / "s" / EVENT_LOG)

    assert read.trials == written.trials
    assert [trial.state for trial in read.trials] == ["done", "stopped", "failed", "running"]


def test_a_trials_score_is_that_of_its_best_validation_and_a_failed_one_has_none(tmp_path):
    trials = write_search(tmp_path / "s").trials

    assert [trial.score(SELECTION) for trial in trials] == [2.0, 3.5, None, None]
    assert trials[0].score(Objective(metric="val/ssim")) == 3.0  # where higher is better


def test_the_look_up_that_all_trials_began_with_ranks_none_of_them():
    began = {0: 1.0}
    trials = [ended("a", began | {2: 3.0}, "done"), ended("b", began | {2: 2.0}, "done")]

    assert [trial.name for trial in rank_trials(trials, SELECTION)] == ["b", "a"]
    assert trials[0].score(SELECTION) == 3.0
    assert ended("c", began, "stopped").score(SELECTION) == 1.0


def test_what_failed_ranks_last_even_with_the_best_score(tmp_path):
    trials = write_search(tmp_path / "s").trials

    assert [trial.name for trial in rank_trials(trials, SELECTION)] == [
        "t000",
        "t001",
        "t003",
        "t002",
    ]


def test_a_line_cut_short_by_a_kill_is_dropped_and_the_next_one_is_whole(tmp_path):
    path = write_search(tmp_path / "s").path
    before = path.read_bytes()
    path.write_bytes(before + b'{"event": "score", "tri')

    log = EventLog(path)
    log.score("t003", 2, 2.2)

    assert path.read_bytes().startswith(before)
    assert EventLog(path).by_name["t003"].step == 2


def test_looking_at_a_search_that_runs_changes_nothing(tmp_path):
    path = write_search(tmp_path / "s").path
    path.write_bytes(path.read_bytes() + b'{"event"')
    before = path.read_bytes()

    EventLog(path, writes=False)

    assert path.read_bytes() == before


def test_a_damaged_line_is_named(tmp_path):
    path = write_search(tmp_path / "s").path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], "}{\n", *lines[3:]]))

    with pytest.raises(UserError, match=r"Line 3 of .*trials\.jsonl is damaged"):
        EventLog(path)


def test_validating_a_step_again_after_a_restart_counts_once(tmp_path):
    log = write_search(tmp_path / "s")
    for step, score in ((2, 4.0), (4, 3.0), (2, 4.5)):
        log.score("t003", step, score)

    assert [(score.step, score.value) for score in log.by_name["t003"].scores] == [
        (2, 4.5),
        (4, 3.0),
    ]


def test_taking_over_begins_a_new_run_without_the_scores_of_the_old_one(tmp_path):
    log = write_search(tmp_path / "s")
    log.score("t003", 4, 9.0)
    log.exploit("t003", values(2.0), "t000", "t000/checkpoints/step_00000004")
    log.exploit("t003", values(2.5), "t000", "t000/checkpoints/step_00000008")

    trial = EventLog(log.path).by_name["t003"]

    assert (trial.run, trial.exploits, trial.scores) == ("t003-2", 2, ())
    assert trial.start == "t000/checkpoints/step_00000008"
    assert trial.values["loss.cycle.weight"] == 2.5


def test_time_goes_on_over_restarts(tmp_path):
    log = write_search(tmp_path / "s")
    log.before_s = 1000.0  # as if it had searched for so long
    log.score("t003", 2, 1.0)

    assert EventLog(log.path).time_s >= 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_on_a_full_disk_no_event_is_taken_and_whoever_searches_can_see_it(tmp_path):
    log = write_search(tmp_path / "s")
    before = log.trials
    log.path = Path("/dev/full")

    log.score("t003", 2, 1.0)
    log.end("t003", "done")

    assert log.failure is not None
    assert log.failure.strerror == os.strerror(28)
    assert log.trials == before


def test_half_a_line_is_taken_back_when_the_disk_is_full(tmp_path, monkeypatch):
    log = write_search(tmp_path / "s")
    before = log.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    log.score("t003", 2, 1.0)

    assert log.failure is not None
    assert log.path.read_bytes() == before


def test_ranking_by_a_score_where_higher_is_better():
    trials = [ended("a", {2: 0.3}, "done"), ended("b", {2: 0.8}, "done")]

    assert [trial.name for trial in rank_trials(trials, Objective(metric="val/ssim"))] == ["b", "a"]
