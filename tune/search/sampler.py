"""Choose the next values of a search, as a function of the event log alone, so that a killed search
continues as if it had not been killed. The only module that imports Optuna.
"""

from collections.abc import Sequence
from math import inf

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from cyclegan.config.config import Config
from tune.search.event_log import Trial
from tune.search.trial_score import Objective
from tune.space.space import Choice, Dimension, Space, Value, Values, compose_space

optuna.logging.set_verbosity(optuna.logging.WARNING)  # every call here uses a new study

FIRST_RANDOM = 8
"""Number of trials with an outcome before TPE uses them."""
MIN_TRIALS = 8
"""Smallest number of trials for an estimate of importance."""


def next_values(
    trials: Sequence[Trial],
    *,
    space: Space,
    base: Config,
    objective: Objective,
    kind: str,
    seed: int,
) -> Values:
    """Return values for the trial after `trials`.

    `kind` is `tpe` (Bergstra 2011, with Optuna's treatment of trials that were stopped early: the
    further they came, the more they count) or `random`. A failed trial counts as the worst; a
    running one keeps others away from its values.
    """
    # Each trial has its own stream of random numbers, independent of draws before a restart.
    state = int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0])
    sampler: BaseSampler = (
        RandomSampler(seed=state)
        if kind == "random"
        else TPESampler(seed=state, n_startup_trials=FIRST_RANDOM, constant_liar=True)
    )
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.add_trials([frozen_trial(trial, space, objective) for trial in trials])
    asked = study.ask()

    def pick(name: str, dimension: Dimension) -> Value:
        if isinstance(dimension, Choice):
            chosen = asked.suggest_categorical(name, dimension.choice)
            assert chosen is not None
            return chosen
        return asked.suggest_float(name, dimension.low, dimension.high, log=dimension.log)

    return compose_space(space, base, pick)


def frozen_trial(trial: Trial, space: Space, objective: Objective) -> FrozenTrial:
    """Convert a trial to Optuna; values outside the space, as those of the preset may be, are
    omitted."""
    inside = {n: v for n, v in trial.values.items() if n in space and space[n].holds(v)}
    known: dict[str, BaseDistribution] = {name: distribution(space[name]) for name in inside}
    costs = {score.step: objective.cost(score.value) for score in trial.scores}
    value: float | None = objective.cost(trial.score(objective))
    match trial.state:
        case "done" | "failed":
            state = TrialState.COMPLETE
        case "stopped" if costs:
            state = TrialState.PRUNED
        case "stopped":
            state, value = TrialState.COMPLETE, inf
        case _:
            state, value = TrialState.RUNNING, None
    return create_trial(
        state=state,
        value=value,
        params=inside,
        distributions=known,
        intermediate_values=costs,
    )


def distribution(dimension: Dimension) -> BaseDistribution:
    """Convert a dimension to Optuna."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.choice)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def importances(trials: Sequence[Trial], space: Space, objective: Objective) -> dict[str, float]:
    """Return how much each setting decided whether a trial was in the better half, as shares of 1.

    The method is PED-ANOVA (Watanabe 2023) on the scores of the first step at which every trial was
    validated, since later scores exist only for good trials. A setting that is used only `when`
    another is on is assessed among those trials. The result is empty with fewer than 8 trials.
    """
    first = [
        (trial, objective.cost(trial.trained_scores[0].value))
        for trial in trials
        if trial.trained_scores and trial.state != "failed"
    ]
    shares: dict[str, float] = {}
    for name in space:
        study = optuna.create_study(direction="minimize")
        for trial, cost in first:
            if cost < inf and name in trial.values and space[name].holds(trial.values[name]):
                study.add_trial(
                    create_trial(
                        value=cost,
                        params={name: trial.values[name]},
                        distributions={name: distribution(space[name])},
                    )
                )
        drawn = {str(each.params[name]) for each in study.trials}
        if len(study.trials) >= MIN_TRIALS and len(drawn) > 1:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=0.5)
            found = evaluator.evaluate(study, params=[name])
            shares[name] = max(0.0, found[name])
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total else {}
