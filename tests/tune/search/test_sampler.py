"""What is tried next follows from the ledger alone, and leans to where good trials lay."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.searches import BASE, WEIGHTS, ended
from tune.search.sampler import importances, next_values
from tune.search.trial_score import Objective
from tune.space.space import Choice, Range, values_of

SPACE = {
    "loss.ssim.enabled": Choice(choice=(True, False)),
    "loss.ssim.weight": Range(low=0.1, high=10.0, log=True, when={"loss.ssim.enabled": True}),
    "loss.cycle.weight": Range(low=1.0, high=30.0, log=True),
}
CYCLE = "loss.cycle.weight"
COMMON = {"space": SPACE, "base": BASE, "objective": Objective(), "seed": 0}


def history(count, outcome, kind="tpe", space=SPACE):
    """A search in which `outcome(values)` is the (score, state) of a trial."""
    trials = []
    for number in range(count):
        values = next_values(trials, kind=kind, **{**COMMON, "space": space})
        score, state = outcome(values)
        steps = {2: score} if state == "stopped" else {2: score, 18: score}
        trials.append(ended(f"t{number:03d}", steps, state, values=values))
    return trials


def near_ten(values):
    """Good where the cycle's weight is near 10, whatever the rest."""
    return abs(np.log(values["loss.cycle.weight"] / 10)) + 1, "done"


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_same_ledger_gives_the_same_values_and_a_longer_one_others(kind):
    trials = history(10, near_ten, kind)

    again = next_values(trials, kind=kind, **COMMON)

    assert next_values(trials, kind=kind, **COMMON) == again
    assert next_values(trials[:9], kind=kind, **COMMON) == trials[9].values
    assert len({str(trial.values) for trial in trials}) == 10


def test_tpe_leans_to_where_good_trials_lay_and_random_does_not():
    def distance(kind):
        late = history(60, near_ten, kind, {CYCLE: SPACE[CYCLE]})[30:]
        return np.mean([abs(np.log(trial.values["loss.cycle.weight"] / 10)) for trial in late])

    assert distance("tpe") < 0.7 * distance("random")


def test_tpe_shuns_where_trials_fail():
    def fails_when_large(values):
        failed = values["loss.cycle.weight"] > 6
        return (None, "failed") if failed else (1.0 + values["loss.cycle.weight"] / 1e3, "done")

    late = history(40, fails_when_large)[20:]

    # Half of the logarithmic range lies above 5.5.
    assert np.mean([trial.values["loss.cycle.weight"] > 6 for trial in late]) < 0.2


@pytest.mark.parametrize("state", ["done", "stopped", "failed", "running"])
def test_trials_in_every_state_and_outside_the_space_are_understood(state):
    outside = replace(
        ended("t0", {2: 1.0}, state), values={"loss.cycle.weight": 99.0, "loss.ssim.enabled": True}
    )
    nothing = ended("t1", {}, state, values=values_of(BASE, WEIGHTS, BASE))

    values = next_values([outside, nothing] * 6, kind="tpe", **COMMON)

    assert set(values) <= set(SPACE)


def test_importance_finds_the_setting_that_decides():
    trials = history(30, near_ten, "random")

    shares = importances(trials, SPACE, Objective())

    assert sum(shares.values()) == pytest.approx(1)
    assert shares["loss.cycle.weight"] > 0.7


def test_a_few_trials_tell_no_importance():
    assert importances(history(7, near_ten, "random"), SPACE, Objective()) == {}
