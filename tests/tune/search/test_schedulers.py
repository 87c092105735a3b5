"""Who goes on: halving by Li 2020 on the ledger's names, and populations by Jaderberg 2017."""

from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tests.support.searches import BASE, WEIGHTS, settings
from tune.search.event_log import EVENT_LOG, EventLog
from tune.search.schedulers import HalvingScheduler, PopulationScheduler, rungs
from tune.search.settings import context_of
from tune.search.trial import FAILURE

METRIC = "val/selection"


class Room:
    """A search on paper: trials, what they score, and who was asked to end."""

    def __init__(self, folder: Path) -> None:
        self.context = context_of(settings(folder), BASE)
        self.log = EventLog(folder / EVENT_LOG)
        self.asked: list[str] = []
        self.halving = self.build()

    def build(self) -> HalvingScheduler:
        return HalvingScheduler(self.context, self.log, self.asked.append)

    def tell(self, name: str, step: int, score: float) -> bool:
        """Whether the trial was asked to end."""
        if name not in self.log.by_name:
            self.log.begin(name, {})
        trial = SimpleNamespace(
            trial_id=f"ray-{name}", config={"trial": {"name": name, "run": name}}
        )
        before = len(self.asked)
        decision = self.halving.on_trial_result(None, trial, {METRIC: score, "step": float(step)})
        assert decision == TrialScheduler.CONTINUE  # never killed
        self.log.score(name, step, score if score < inf else None)
        return len(self.asked) > before


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_the_rungs_are_powers_of_three_and_the_last_comes_before_the_end():
    assert rungs(2, 18) == [2, 6]
    assert rungs(100, 900) == [100, 300]
    assert rungs(100, 901) == [100, 300, 900]
    assert rungs(7, 7) == [7]


def test_it_decides_as_rays_own_halving_does(room):
    """The same scores through the scheduler that Ray ships, whose decision is to stop."""
    plain = AsyncHyperBandScheduler(
        time_attr="step", metric=METRIC, mode="min", max_t=18, grace_period=2, reduction_factor=3
    )
    scores = [5.0, 4.0, 6.0, 3.0, 4.5, 7.0, 2.0, 2.5, 9.0, 1.0]
    for number, score in enumerate(scores):
        trial = SimpleNamespace(trial_id=f"ray-t{number}", config={})
        plain.on_trial_add(None, trial)

        theirs = plain.on_trial_result(None, trial, {METRIC: score, "step": 2})

        assert room.tell(f"t{number}", 2, score) == (theirs == TrialScheduler.STOP)
    assert room.asked == ["t2", "t4", "t5", "t8"]


def test_a_restart_decides_as_if_there_had_been_none(room):
    scores = [5.0, 4.0, 6.0, 3.0, 4.5, 7.0]
    for number, score in enumerate(scores):
        room.tell(f"t{number}", 2, score)
    room.halving = room.build()  # from the ledger alone

    assert room.tell("t6", 2, 4.4)
    assert not room.tell("t7", 2, 2.9)
    # A trial that goes on after the restart does not count twice at a rung that it had passed.
    assert not room.tell("t3", 4, 99.0)


def test_without_a_finite_score_a_trial_ends_and_the_bar_stays_where_it_was(room):
    for number, score in enumerate([5.0, 4.0, 3.0]):
        room.tell(f"t{number}", 2, score)
    bar = room.halving.rungs.debug_string()
    assert "Iter 2.000: -3.66" in bar

    assert room.tell("t3", 2, inf)

    assert room.halving.rungs.debug_string() == bar
    assert not room.tell("t4", 2, 2.0)


def test_who_reaches_the_end_is_not_asked_to_end(room):
    for step in range(2, 19, 2):
        assert not room.tell("t0", step, 1.0)
    for step in range(2, 7, 2):
        room.tell("t1", step, 0.5)

    assert not room.tell("t0", 18, 9.0)


def test_a_failure_is_no_score(room):
    trial = SimpleNamespace(trial_id="a", config={"trial": {"name": "a", "run": "a"}})

    room.halving.on_trial_result(None, trial, {METRIC: inf, "step": 0.0, FAILURE: "no CT"})

    assert room.asked == []


class Tune:
    """Of Tune what a population asks of it: its trials, pausing one, and a checkpoint of one."""

    search_alg = None

    def __init__(self) -> None:
        self.trials: dict[str, Trial] = {}

    def get_trials(self) -> list[Trial]:
        return list(self.trials.values())

    def pause_trial(self, trial: Trial, should_checkpoint: bool) -> None:
        trial.status = Trial.PAUSED

    def _schedule_trial_save(self, trial: Trial, result: dict[str, float]) -> str:
        return f"checkpoint of {trial.config['trial']['name']}"

    def add(self, population: PopulationScheduler, handed: dict[str, object]) -> None:
        trial = Trial("run_trial", config={"trial": handed}, stub=True)
        trial.status = Trial.RUNNING
        self.trials[str(handed["name"])] = trial
        population.on_trial_add(self, trial)

    def tell(self, population: PopulationScheduler, name: str, step: int, score: float) -> None:
        population.on_trial_result(self, self.trials[name], {METRIC: score, "step": float(step)})


def test_taking_over_gives_a_new_run_the_donors_checkpoint_and_values_beside_its_own(tmp_path):
    context = context_of(settings(tmp_path, scheduler="pbt"), BASE)
    log = EventLog(tmp_path / EVENT_LOG)
    good = {"loss.cycle.weight": 10.0, "loss.ssim.enabled": False}
    log.begin("t000", good)
    log.begin("t001", {"loss.cycle.weight": 1.0, "loss.ssim.enabled": False})
    population = PopulationScheduler(context, log, WEIGHTS, 0, lambda handed, result: None)
    tune = Tune()
    for name, values in (("t000", good), ("t001", {})):
        tune.add(population, {"name": name, "run": name, "start": "", "values": values})

    for step in (2, 4):  # at the first look nobody has a checkpoint to take over yet
        tune.tell(population, "t000", step, 1.0)
        tune.tell(population, "t001", step, 2.0)

    handed = tune.trials["t001"].config["trial"]
    assert tune.trials["t000"].config["trial"]["run"] == "t000"
    assert (handed["name"], handed["run"]) == ("t001", "t001-1")
    assert handed["start"] == "t000/checkpoints/step_00000004"
    known = EventLog(tmp_path / EVENT_LOG).by_name["t001"]
    assert (known.values, known.run, known.start) == (
        *(handed["values"], "t001-1"),
        handed["start"],
    )
    assert handed["values"] != good
    assert set(handed["values"]) >= {"loss.cycle.weight", "loss.ssim.enabled"}
