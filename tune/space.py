"""What a search may change: dotted settings, each with a range or a list of choices. Pure.

It knows the configuration and nothing of trials, samplers or Ray.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeGuard, get_args, get_origin, get_type_hints

import yaml

from cyclegan.config import Config
from cyclegan.config_file import decisive, from_mapping
from cyclegan.errors import ConfigError

Value = bool | int | float | str
Values = Mapping[str, Value]
"""One point of a space: a value for each of its settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Any number from `low` to `high`; with `log`, uniform in its logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"a range must rise, but goes from {self.low} to {self.high}.")
        if self.log and self.low <= 0:
            raise ConfigError(
                f"a logarithmic range must begin above 0, but begins at {self.low}. "
                "To try a term switched off, give a choice with 0 in it."
            )

    def holds(self, value: object) -> bool:
        """Whether a value can come from here."""
        return is_number(value) and self.low <= value <= self.high

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that must be allowed for all to be."""
        return (self.low, self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of a few values."""

    choice: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.choice:
            raise ConfigError("a choice needs at least one value.")

    def holds(self, value: object) -> bool:
        """Whether a value can come from here."""
        return value in self.choice

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that must be allowed for all to be."""
        return self.choice


Space = Mapping[str, Range | Choice]

SPACES: dict[str, Space] = {
    "loss-weights": {
        "loss.cycle_weight": Range(low=1.0, high=30.0, log=True),
        "loss.identity_weight": Range(low=0.1, high=15.0, log=True),
        "loss.ssim_weight": Range(low=0.05, high=10.0, log=True),
    },
    "schedules": {
        "optimizer.learning_rate": Range(low=5e-5, high=1e-3, log=True),
        "optimizer.critic_learning_rate": Range(low=5e-5, high=1e-3, log=True),
        "optimizer.schedule": Choice(choice=("constant", "linear", "cosine")),
        "optimizer.warmup_steps": Choice(choice=(0, 100, 500)),
    },
}
SPACES["loss-weights-and-schedules"] = {**SPACES["loss-weights"], **SPACES["schedules"]}


def load_space(source: str, base: Config) -> Space:
    """A built-in space by its name, or one's own from a YAML file.

    The file maps dotted settings to `{low, high, log}` or `{choice: [...]}`. Every sample of what
    is returned makes a valid configuration from `base`.

    Raises:
        ConfigError: There is no such space, it names a setting that cannot be searched, or a value
            that the setting does not allow.
    """
    space = SPACES[source] if source in SPACES else read_space(source)
    for name, dimension in space.items():
        check_dimension(name, dimension, base)
    return space


def read_space(source: str) -> Space:
    """Parse a file that describes a space."""
    try:
        values = yaml.safe_load(Path(source).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{source!r} is neither a space nor a YAML file that describes one ({error}). "
            f"Spaces: {', '.join(SPACES)}. A file has lines such as\n"
            "  loss.cycle_weight: {low: 1, high: 30, log: true}\n"
            "  optimizer.schedule: {choice: [linear, cosine]}"
        ) from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"{source} must hold settings with their ranges, but holds {values!r}.")
    return {str(name): dimension(name, value) for name, value in values.items()}


def dimension(name: str, values: object) -> Range | Choice:
    """One entry of the file."""
    try:
        if isinstance(values, dict) and {"low", "high"} <= set(values):
            # PyYAML reads 1e-4, without a dot, as text.
            numbers = {key: float(values[key]) for key in ("low", "high")}
            result = from_mapping(Range, values | numbers, name)
        elif isinstance(values, dict) and isinstance(values.get("choice"), list):
            result = from_mapping(Choice, values, name)
        else:
            raise ConfigError(f"want {{low, high, log}} or {{choice: [...]}}, found {values!r}.")
    except ValueError as error:  # ConfigError among them
        raise ConfigError(f"the space's {name}: {error}") from error
    assert isinstance(result, Range | Choice)
    return result


def check_dimension(name: str, dimension: Range | Choice, base: Config) -> None:
    """Refuse what `base` has no place for."""
    known = [setting for setting in decisive(base) if "." in setting]
    if name not in known:
        raise ConfigError(
            f"the space searches {name}, which is no setting that changes what is trained. "
            f"Those are: {', '.join(known)}."
        )
    section, field = name.split(".")
    hint = get_type_hints(type(getattr(base, section)))[field]
    if isinstance(dimension, Range) and hint is not float:
        raise ConfigError(
            f"the space gives {name} a range, but it is no real number. List some values: "
            f"{name}: {{choice: [...]}}."
        )
    for value in dimension.extremes:
        if not fits(value, hint):
            text = " YAML reads 1e-4 as text; write 1.0e-4." if hint is float else ""
            raise ConfigError(
                f"the space gives {name} the value {value!r}, but it takes {describe(hint)}.{text}"
            )
        apply(base, {name: value})


def fits(value: object, hint: object) -> bool:
    """Whether a value is of a setting's type."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    return is_number(value) if hint is float else type(value) is hint


def is_number(value: object) -> TypeGuard[int | float]:
    """True and False are integers to Python, but not to people."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe(hint: object) -> str:
    """A setting's type for people."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    return getattr(hint, "__name__", str(hint))


def apply(config: Config, values: Values) -> Config:
    """The configuration with the values of one trial in it."""
    for name, value in values.items():
        section, field = name.split(".")
        changed = replace(getattr(config, section), **{field: value})
        config = replace(config, **{section: changed})
    return config


def values_of(config: Config, space: Space) -> Values | None:
    """Where in the space a configuration lies; None when it lies outside, as a weight of 0 does
    outside a logarithmic range.
    """
    values = {name: value for name, value in decisive(config).items() if name in space}
    return values if all(space[name].holds(value) for name, value in values.items()) else None


def to_yaml(space: Space) -> str:
    """The space as a file that `load_space` reads."""
    plain = {
        name: asdict(dimension)
        if isinstance(dimension, Range)
        else {"choice": list(dimension.choice)}
        for name, dimension in space.items()
    }
    return yaml.safe_dump(plain, sort_keys=False)
