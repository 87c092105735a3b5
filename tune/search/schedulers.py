"""The schedulers of trials: successive halving and population-based training of Ray Tune. They are
coupled to the event log, so that they continue after a restart as if there had been none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from random import Random
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from cyclegan.train.checkpoint.checkpoint import folder_of
from tune.search.event_log import EventLog
from tune.search.trial import FAILURE, TrialContext, TrialSpec
from tune.space.space import Space, perturb_values

Record = Callable[[TrialSpec, dict[str, Any]], None]
"""Callback that records a score: (trial, result)."""

REDUCTION = 3
"""One in this many trials of a rung continues; the next rung is this many times further."""


@dataclass(frozen=True, slots=True)
class TrialWithId:
    """The part of a trial that a bracket uses, since Ray's own ids change with a restart."""

    trial_id: str


class HalvingScheduler(FIFOScheduler):
    """Asynchronous successive halving (Li 2020).

    A trial that falls behind is requested to save and end, not killed: its checkpoints stay
    complete, and its workers release their resources themselves. A trial without a finite score
    ends too, and does not count at the rung, where it would change the threshold for the others.
    """

    def __init__(
        self, context: TrialContext, log: EventLog, ask_to_end: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.score, self.steps = context.objective.metric, context.base.train.max_steps
        self.ask_to_end = ask_to_end
        self.rungs = AsyncHyperBandScheduler(
            time_attr="step",
            metric=self.score,
            mode=context.objective.mode,
            max_t=self.steps,
            grace_period=min(context.look_every_steps, self.steps),
            reduction_factor=REDUCTION,
            stop_last_trials=False,
        )
        for trial in log.trials:
            for score in trial.scores:
                if score.value is not None:
                    self.decide(trial.name, score.step, score.value)

    def decide(self, name: str, step: int, score: float) -> str:
        """Record a trial's score at the rung; return whether the trial continues."""
        trial = TrialWithId(name)
        self.rungs.on_trial_add(None, trial)  # harmless if repeated, since there is one bracket
        decision: str = self.rungs.on_trial_result(None, trial, {"step": step, self.score: score})
        return decision

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide on a trial after a validation."""
        if FAILURE in result:
            return str(TrialScheduler.CONTINUE)
        name, score, step = trial.config["trial"]["name"], result[self.score], result["step"]
        behind = not isfinite(score) or self.decide(name, int(step), score) == TrialScheduler.STOP
        if behind and step < self.steps:
            self.ask_to_end(trial.config["trial"]["run"])
        return str(TrialScheduler.CONTINUE)


class PopulationScheduler(PopulationBasedTraining):
    """Population-based training (Jaderberg 2017): at each decision, a trial of the worst quarter
    takes over weights and values of one of the best quarter, and perturbs the values."""

    def __init__(
        self, context: TrialContext, log: EventLog, space: Space, seed: int, record: Record
    ) -> None:
        super().__init__(
            time_attr="step",
            metric=context.objective.metric,
            mode=context.objective.mode,
            perturbation_interval=context.look_every_steps,
            custom_explore_fn=self.take_over,
            log_config=False,  # the event log does
            require_attrs=False,
        )
        self.context, self.log, self.space, self.seed = context, log, space, seed
        self.record = record
        self.present: TrialSpec | None = None
        """The trial that Ray decides on now, since Ray passes only the donor when it explores."""
        self.reached: dict[str, int] = {}
        """Step of each member's weights at its last decision."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after a segment; a failed or last segment takes over nothing."""
        if FAILURE in result or result["step"] >= self.context.base.train.max_steps:
            return str(TrialScheduler.CONTINUE)
        # Before exploiting, while its run is still the one that the score belongs to.
        self.present = own = trial.config["trial"]
        self.record(own, result)
        self.reached[own["name"]] = int(result["step"])
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return decision

    def take_over(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the config of the current trial when it takes over from the donor, just before it
        restarts."""
        own, donor = self.present, config["trial"]
        assert own is not None
        exploits = sum(each.exploits for each in self.log.trials)
        random = Random(f"{self.seed} {exploits}")
        values = dict(perturb_values(donor["values"], self.space, self.context.base, random))
        step = self.reached[own["name"]] = self.reached[donor["name"]]
        runs = self.context.runs
        start = str(folder_of(runs / donor["run"], step)).removeprefix(f"{runs}/")
        self.log.exploit(own["name"], values, donor["name"], start)
        run = self.log.by_name[own["name"]].run
        return {"trial": own | {"values": values, "run": run, "start": start}}


def make_scheduler(
    kind: str,
    context: TrialContext,
    log: EventLog,
    *,
    space: Space,
    seed: int,
    ask_to_end: Callable[[str], None],
    record: Record,
) -> TrialScheduler:
    """Build the scheduler `asha`, `pbt` or `none`."""
    if kind == "asha":
        return HalvingScheduler(context, log, ask_to_end)
    if kind == "pbt":
        return PopulationScheduler(context, log, space, seed, record)
    return FIFOScheduler()


def rungs(look_every_steps: int, steps: int) -> Sequence[int]:
    """Return the steps at which successive halving decides."""
    found = [look_every_steps]
    while found[-1] * REDUCTION < steps:
        found.append(found[-1] * REDUCTION)
    return found
