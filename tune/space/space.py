"""The space of a search: settings and dials, each with a range or a list of choices."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import exp, isclose, log
from random import Random
from typing import TypeGuard

from cyclegan.config.config import Config
from cyclegan.config.files import flatten_settings, with_settings
from cyclegan.errors import ConfigError
from tune.space.derived_settings import DERIVED_SETTINGS

Value = bool | int | float | str
Values = Mapping[str, Value]
"""One point of a space: a value for each setting that is used at the point."""
MOST_COMBINATIONS = 10_000
"""Largest number of points of a grid, also of a part of the space's dimensions."""
RESAMPLE = 0.25
"""Probability that `perturb_values` draws a new value (Jaderberg 2017)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Any number from `low` to `high`; with `log`, uniform in its logarithm."""

    low: float
    high: float
    log: bool = False
    when: Values = field(default_factory=dict)
    """Condition: the setting is used only if these other settings have these values."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(
                f"A range must have low < high, but goes from {self.low} to {self.high}."
            )
        if self.log and self.low <= 0:
            raise ConfigError(
                f"A logarithmic range must begin above 0, but begins at {self.low}. To try a term "
                "switched off, search its switch too (loss.ssim.enabled: "
                f"{{choice: [true, false]}}) and give the weight `when: "
                f"{{loss.ssim.enabled: true}}`."
            )

    def holds(self, value: object) -> bool:
        """Return whether the dimension includes a value."""
        return is_number(value) and self.low <= value <= self.high

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Return the values to check; if they are valid, all others are."""
        return (self.low, self.high)

    def at(self, share: float) -> float:
        """Return the value at a position of the range, from 0 to 1."""
        if not self.log:
            return self.low + share * (self.high - self.low)
        # Rounding must not leave the range.
        value = exp(log(self.low) + share * (log(self.high) - log(self.low)))
        return min(self.high, max(self.low, value))

    def spread(self, points: int) -> list[Value]:
        """Return evenly spaced values, including both ends."""
        return [self.at(k / (points - 1)) for k in range(points)] if points > 1 else [self.at(0.5)]

    def draw(self, random: Random) -> Value:
        """Draw a value uniformly."""
        return self.at(random.random())

    def perturb(self, value: Value, random: Random) -> Value:
        """Return a perturbed value: 0.8 or 1.2 times it, or shifted by a fifth of a range that is
        not logarithmic."""
        assert isinstance(value, int | float)
        up = random.random() < 0.5
        if self.log:
            moved = value * (1.2 if up else 0.8)
        else:
            moved = value + (0.2 if up else -0.2) * (self.high - self.low)
        return min(self.high, max(self.low, moved))


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A choice of a few values."""

    choice: tuple[Value, ...]
    when: Values = field(default_factory=dict)
    """Condition: the setting is used only if these other settings have these values."""

    def __post_init__(self) -> None:
        if not self.choice:
            raise ConfigError("A choice needs at least one value.")

    def holds(self, value: object) -> bool:
        """Return whether the dimension includes a value."""
        return value in self.choice

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Return the values to check; if they are valid, all others are."""
        return self.choice

    def spread(self, points: int) -> list[Value]:
        """Return all choices."""
        return list(self.choice)

    def draw(self, random: Random) -> Value:
        """Draw a value uniformly."""
        return random.choice(self.choice)

    def perturb(self, value: Value, random: Random) -> Value:
        """Return the previous or the next choice in the list."""
        if value not in self.choice:
            return self.draw(random)
        index = self.choice.index(value) + random.choice((-1, 1))
        return self.choice[min(len(self.choice) - 1, max(0, index))]


Dimension = Range | Choice
Space = Mapping[str, Dimension]
"""Dimensions by setting or dial; settings in a `when` come before."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number; bool, a subclass of int, is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def term(name: str, low: float, high: float) -> dict[str, Dimension]:
    """Return the dimensions of an optional loss term: its switch, and its weight if it is on."""
    enabled = f"{name}.enabled"
    return {
        enabled: Choice(choice=(True, False)),
        f"{name}.weight": Range(low=low, high=high, log=True, when={enabled: True}),
    }


def without_switches(names: Collection[str]) -> list[str]:
    """Return the names without the switches of terms whose weight is included, since it is off with
    its switch."""
    switches = {
        f"{name.removesuffix('.weight')}.enabled" for name in names if name.endswith(".weight")
    }
    return [name for name in names if name not in switches]


WEIGHTS: Space = {
    "loss.adversarial.weight": Range(low=0.2, high=5.0, log=True),
    "loss.cycle.weight": Range(low=1.0, high=30.0, log=True),
    **term("loss.identity", 0.1, 15.0),
    **term("loss.ssim", 0.05, 10.0),
    **term("loss.gradient", 0.05, 10.0),
    **term("loss.shape", 0.05, 10.0),
    **term("loss.population", 0.5, 20.0),
}


def weight_schedules(weights: Space) -> dict[str, Dimension]:
    """Return the dimensions of the schedule of each weight: constant, or rising or falling over a
    share of the run that all weights have in common."""
    schedule = Choice(choice=("constant", "rise", "fall"))
    schedules: dict[str, Dimension] = {
        name.replace(".weight", ".schedule"): replace(schedule, when=dimension.when)
        for name, dimension in weights.items()
        if name.endswith(".weight")
    }
    return {**schedules, "loss.schedule_share": Range(low=0.05, high=1.0)}


SCHEDULES: Space = {
    **weight_schedules(WEIGHTS),
    "optimizer.learning_rate": Range(low=5e-5, high=1e-3, log=True),
    "discriminator_rate_ratio": Range(low=0.25, high=4.0, log=True),
    "optimizer.schedule": Choice(choice=("constant", "linear", "cosine")),
    "optimizer.decay_start": Range(low=0.0, high=0.8, when={"optimizer.schedule": "linear"}),
    "warmup_share": Range(low=0.0, high=0.1),
}
SPACES: dict[str, Space] = {
    "weights": WEIGHTS,
    "weights-and-schedules": {**WEIGHTS, **SCHEDULES},
    "full": {
        **WEIGHTS,
        **SCHEDULES,
        "train.pool_size": Choice(choice=(0, 10, 50)),
        "data.partner": Choice(choice=("random", "position")),
        "augmentation": Range(low=0.0, high=2.0),
    },
}


def compose_space(space: Space, base: Config, pick: Callable[[str, Dimension], Value]) -> Values:
    """Build a point: `pick` is called, in the space's order, for each value that is used."""
    values: dict[str, Value] = {}
    for name, dimension in space.items():
        if counts(dimension, values, base):
            values[name] = pick(name, dimension)
    return values


def counts(dimension: Dimension, values: Values, base: Config) -> bool:
    """Return whether a dimension's `when` holds; settings outside the space are those of `base`."""
    if not dimension.when:
        return True
    now = flatten_settings(base) | dict(values)
    return all(now[name] == wanted for name, wanted in dimension.when.items())


def draw_values(space: Space, base: Config, random: Random) -> Values:
    """Draw a point uniformly from the space."""
    return compose_space(space, base, lambda name, dimension: dimension.draw(random))


def perturb_values(values: Values, space: Space, base: Config, random: Random) -> Values:
    """Return a perturbed point, as in population-based training (Jaderberg 2017)."""

    def pick(name: str, dimension: Dimension) -> Value:
        if name not in values or random.random() < RESAMPLE:
            return dimension.draw(random)
        return dimension.perturb(values[name], random)

    return compose_space(space, base, pick)


def grid(space: Space, base: Config, points: int) -> list[Values]:
    """Return all combinations of values; a range contributes only if its `when` holds.

    Raises:
        ConfigError: There are more combinations than anybody trains.
    """
    combinations: list[Values] = [{}]
    for name, dimension in space.items():
        if len(combinations) > MOST_COMBINATIONS:
            raise ConfigError(
                f"The grid of this space has more than {MOST_COMBINATIONS:,} points, and each is a "
                "run. Give fewer --grid-points, a smaller space, or --sampler tpe or random, which "
                "search any space with any number of trials."
            )
        combinations = [
            longer
            for values in combinations
            for longer in (
                [{**values, name: value} for value in dimension.spread(points)]
                if counts(dimension, values, base)
                else [values]
            )
        ]
    return combinations


def apply_values(base: Config, values: Values) -> Config:
    """Return the base with the values of one trial: plain settings first, then dials."""
    plain = {name: value for name, value in values.items() if name not in DERIVED_SETTINGS}
    config = with_settings(base, plain)
    for name, derived in DERIVED_SETTINGS.items():
        if name in values:
            number = values[name]
            assert isinstance(number, int | float)
            if not isclose(number, derived.read(config, base), rel_tol=1e-12):
                config = derived.apply(config, base, number)
    return config


def values_of(config: Config, space: Space, base: Config) -> Values:
    """Return a configuration as a point of the space around `base`, also if it is outside.

    A term with weight 0 counts as off, since 0 is outside every logarithmic range.
    """
    loss = config.loss.mapped(lambda term: replace(term, enabled=term.effective_weight > 0))
    config = replace(config, loss=loss)
    settings = flatten_settings(config)

    def read(name: str, dimension: Dimension) -> Value:
        value: Value = (
            DERIVED_SETTINGS[name].read(config, base)
            if name in DERIVED_SETTINGS
            else settings[name]
        )
        return value

    return compose_space(space, config, read)
