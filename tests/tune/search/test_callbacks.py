"""What Tune says of a trial becomes true lines, and the search knows when it has to end."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest

from cyclegan.train.run.signals import STOP
from tests.support.searches import BASE, STEPS, settings
from tune.search.callbacks import SearchStopper, TrialRecorder
from tune.search.event_log import EVENT_LOG, EventLog
from tune.search.settings import context_of
from tune.search.trial import EXIT_CODE, FAILURE, RUN_NAME

METRIC = "val/selection"


class Watched:
    """A trial as Tune shows it, with its ledger."""

    def __init__(self, folder: Path, time_budget_s: float = 0) -> None:
        self.context = context_of(settings(folder), BASE)
        self.log = EventLog(folder / EVENT_LOG)
        self.stopper = SearchStopper(self.log, time_budget_s, [])
        self.report_of: list[str] = []
        self.recorder = TrialRecorder(self.context, self.log, self.stopper, self.report_of.append)
        self.log.begin("t000", {"loss.cycle.weight": 3.0})
        (self.context.runs / "t000").mkdir(parents=True)
        handed = {"name": "t000", "run": "t000", "start": "", "values": {}}
        self.trial = SimpleNamespace(config={"trial": handed})

    def tell(self, step: int, score: float, **more: object) -> None:
        result = {METRIC: score, "step": float(step), RUN_NAME: "t000"} | more
        self.recorder.on_trial_result(iteration=1, trials=[], trial=self.trial, result=result)

    def complete(self) -> tuple[str, str]:
        self.recorder.on_trial_complete(iteration=1, trials=[], trial=self.trial)
        (trial,) = EventLog(self.log.path).trials
        return trial.state, trial.reason


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_who_validated_the_last_step_is_done(watched):
    watched.tell(2, 3.0)
    watched.tell(STEPS, 2.0)

    assert watched.complete() == ("done", "")
    assert [score.value for score in watched.log.trials[0].scores] == [3.0, 2.0]


def test_who_was_asked_to_end_was_stopped_early(watched):
    watched.tell(2, 3.0)
    watched.recorder.ask_to_end("t000")

    assert (watched.context.runs / "t000" / STOP).exists()
    assert watched.complete() == ("stopped", "")


def test_who_ends_without_a_finite_score_failed_whatever_came_before(watched):
    watched.tell(2, 1.0)
    watched.tell(4, inf)

    assert watched.complete() == ("failed", "val/selection was not finite at step 4")


def test_who_cannot_go_on_failed_with_the_reason(watched):
    watched.tell(2, 1.0)
    watched.tell(0, inf, **{FAILURE: "the run diverged and was stopped", EXIT_CODE: 1})

    assert watched.complete() == ("failed", "the run diverged and was stopped")


@pytest.mark.parametrize("scores", [[], [3.0]])
def test_who_ends_early_without_a_word_failed(watched, scores):
    for score in scores:
        watched.tell(2, score)

    assert watched.complete()[0] == "failed"


def test_whose_process_is_lost_again_and_again_failed(watched):
    watched.tell(2, 3.0)

    watched.recorder.on_trial_error(iteration=1, trials=[], trial=watched.trial)

    assert watched.log.trials[0].state == "failed"


def test_of_an_ended_trials_checkpoints_the_newest_and_the_best_stay(watched):
    folder = watched.context.runs / "t000" / "checkpoints"
    for step, score in ((2, 1.0), (4, 3.0), (6, 2.0)):
        (folder / f"step_{step:08d}").mkdir(parents=True)
        facts = {"score": score, "streak": 0.0}
        (folder / f"step_{step:08d}" / "state.json").write_text(json.dumps(facts))
    watched.tell(STEPS, 2.0)

    watched.complete()

    assert sorted(path.name for path in folder.iterdir()) == ["step_00000002", "step_00000006"]


def test_a_full_disk_ends_the_search_and_leaves_the_trial_to_a_later_one(watched):
    watched.tell(2, 3.0)
    assert not watched.stopper.stop_all()

    watched.tell(0, inf, **{FAILURE: "No space left on device", EXIT_CODE: 4})

    assert watched.stopper.stop_all()
    assert watched.complete() == ("running", "")


def test_an_outage_ends_the_search_and_leaves_the_trial_to_a_later_one(watched):
    watched.tell(2, 3.0)

    watched.tell(0, inf, **{FAILURE: "The store cannot be reached.", EXIT_CODE: 5})

    assert watched.stopper.stop_all()
    assert watched.complete() == ("running", "")


def test_a_population_keeps_what_somebody_may_take_over_and_in_the_end_a_few(tmp_path):
    watched = Watched(tmp_path)
    watched.context = replace(watched.context, segments=True)
    recorder, log, runs = watched.recorder, watched.log, watched.context.runs
    recorder.context = watched.context

    def save(run: str, *steps: int) -> None:
        for step in steps:
            folder = runs / run / "checkpoints" / f"step_{step:08d}"
            folder.mkdir(parents=True)
            facts = {"score": float(step != 6), "streak": 0.0}
            (folder / "state.json").write_text(json.dumps(facts))

    def kept() -> dict[str, list[int]]:
        names = {run.name: sorted((run / "checkpoints").glob("*")) for run in runs.iterdir()}
        return {run: [int(path.name[5:]) for path in paths] for run, paths in names.items()}

    log.begin("t001", {})
    save("t000", 2, 4, 6)
    save("t001", 2, 4, 6)
    log.exploit("t000", {}, "t001", "t001/checkpoints/step_00000006")
    log.exploit("t001", {}, "t000", "t000-1/checkpoints/step_00000006")
    recorder.prune_population()
    # Nobody continues the first run; the second is where `t000-1` is about to begin.
    assert kept() == {"t000": [], "t001": [2, 4, 6]}

    save("t000-1", 6, 8)
    recorder.prune_population()
    assert kept() == {"t000": [], "t001": [], "t000-1": [6, 8]}

    save("t001-1", 6, 8, STEPS)
    recorder.end("t000", "done")
    assert kept()["t001-1"] == [6, 8, STEPS]
    recorder.end("t001", "done")
    assert kept() == {"t000": [], "t001": [], "t000-1": [6, 8], "t001-1": [6, STEPS]}


@pytest.mark.parametrize("budget_s", [1e-9, 0])
def test_a_time_budget_ends_the_search_and_leaves_its_trials_to_a_later_one(tmp_path, budget_s):
    watched = Watched(tmp_path, budget_s)
    watched.tell(STEPS, 3.0)

    assert watched.stopper.stop_all() == bool(budget_s)
    assert watched.complete()[0] == ("running" if budget_s else "done")


def test_a_ledger_that_cannot_be_written_ends_the_search(watched):
    watched.log.failure = OSError(28, "No space left on device")

    assert watched.stopper.stop_all()


def test_a_score_is_told_once_and_never_for_a_run_that_was_left_behind(watched):
    watched.tell(2, 3.0)
    watched.tell(2, 3.0)
    watched.log.exploit("t000", {}, "t001", "t001/checkpoints/step_00000002")
    watched.tell(4, 1.0)

    assert len([line for line in watched.report_of if "step" in line]) == 1
    assert watched.log.trials[0].scores == ()


def test_a_trial_that_only_wanted_its_last_line_is_settled(watched):
    watched.tell(2, 3.0)
    watched.recorder.ask_to_end("t000")

    watched.recorder.settle()

    assert watched.log.trials[0].state == "stopped"
