"""Load a search space by name or from a YAML file, and check that every point is a valid run."""

from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from typing import Literal, get_args, get_origin

import yaml

from cyclegan.config.config import Config
from cyclegan.config.files import computation_settings, from_mapping, setting_types
from cyclegan.errors import ConfigError
from tune.space.derived_settings import DERIVED_SETTINGS
from tune.space.space import SPACES, Choice, Dimension, Range, Space, Value, apply_values, is_number


def load_space(source: str, base: Config) -> Space:
    """Load a built-in space by its name, or a custom one from a YAML file.

    The file maps settings and dials to `{low, high, log, when}` or `{choice: [...], when}`. Every
    point of the returned space makes a valid configuration from `base`.

    Raises:
        ConfigError: There is no such space, or it contains a setting that cannot be searched, or a
            value that the setting does not allow, alone or combined with another.
    """
    space = SPACES[source] if source in SPACES else read_space(source)
    for name, dimension in space.items():
        check_dimension(name, dimension, base)
        check_condition(name, dimension, space, base)
    # Validity rules of a configuration involve at most two settings.
    for (one, first), (other, second) in combinations(space.items(), 2):
        for a, b in product(first.extremes, second.extremes):
            try:
                apply_values(base, {one: a, other: b})
            except ConfigError as error:
                raise ConfigError(
                    f"The space allows {one} {a} with {other} {b}, which no run does: {error}"
                ) from error
    return space


def read_space(source: str) -> Space:
    """Parse a file that describes a space."""
    try:
        values = yaml.safe_load(Path(source).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{source!r} is neither a space nor a YAML file that describes one ({error}). "
            f"Spaces: {', '.join(SPACES)}. A file has lines such as\n"
            "  loss.cycle.weight: {low: 1, high: 30, log: true}\n"
            "  optimizer.schedule: {choice: [linear, cosine]}"
        ) from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            f"{source} must contain settings with their ranges, but contains {values!r}."
        )
    return {str(name): dimension(name, value) for name, value in values.items()}


def dimension(name: str, values: object) -> Dimension:
    """Parse one entry of the file."""
    try:
        if isinstance(values, dict) and {"low", "high"} <= set(values):
            # PyYAML reads 1e-4, without a dot, as text.
            numbers = {key: float(values[key]) for key in ("low", "high")}
            result = from_mapping(Range, values | numbers, name)
        elif isinstance(values, dict) and isinstance(values.get("choice"), list):
            result = from_mapping(Choice, values, name)
        else:
            raise ConfigError(
                f"Expected {{low, high, log, when}} or {{choice: [...], when}}, found {values!r}."
            )
    except (ValueError, TypeError) as error:  # ConfigError among them
        raise ConfigError(f"{name} of the space: {error}") from error
    assert isinstance(result, Range | Choice)
    return result


def check_dimension(name: str, dimension: Dimension, base: Config) -> None:
    """Check that `base` has the setting and allows the values."""
    if name in DERIVED_SETTINGS:
        derived = DERIVED_SETTINGS[name]
        for value in dimension.extremes:
            if not is_number(value) or not derived.low <= float(value) <= derived.high:
                raise ConfigError(
                    f"The space gives {name} the value {value!r}; it must be a number from "
                    f"{derived.low:g} to {derived.high:g}: {derived.meaning}."
                )
            apply_values(base, {name: value})
        return
    hint = hint_of(name, base)
    if isinstance(dimension, Range) and hint is not float:
        raise ConfigError(
            f"The space gives {name} a range, but it is not a real number. List some values: "
            f"{name}: {{choice: [...]}}."
        )
    for value in dimension.extremes:
        if not fits(value, hint):
            text = " YAML reads 1e-4 as text; write 1.0e-4." if hint is float else ""
            raise ConfigError(
                f"The space gives {name} the value {value!r}, but it takes {type_text(hint)}.{text}"
            )
        apply_values(base, {name: value})


def check_condition(name: str, dimension: Dimension, space: Space, base: Config) -> None:
    """Check that a `when` can hold, and refers to earlier settings."""
    before = list(space)[: list(space).index(name)]
    if not isinstance(dimension.when, dict):
        raise ConfigError(
            f"In the space, `when` of {name} must map settings to values: {{setting: value}}."
        )
    for other, wanted in dimension.when.items():
        if other in space and other not in before:
            raise ConfigError(
                f"{name} of the space is used when {other} is {wanted!r}, so {other} must be above "
                "it in the file."
            )
        if other in space and not space[other].holds(wanted):
            raise ConfigError(
                f"{name} of the space is used when {other} is {wanted!r}, which {other} never is."
            )
        if not fits(wanted, hint_of(other, base)):
            raise ConfigError(
                f"{name} of the space is used when {other} is {wanted!r}, but {other} takes "
                f"{type_text(hint_of(other, base))}."
            )


def hint_of(name: str, base: Config) -> object:
    """Return the type of a setting.

    Raises:
        ConfigError: There is no such setting, or it does not affect training.
    """
    known = [setting for setting in computation_settings(base) if "." in setting]
    if name not in known:
        raise ConfigError(
            f"The space searches {name}, which is not a setting that affects training. Those are: "
            f"{', '.join(known)}; and the dials {', '.join(DERIVED_SETTINGS)}."
        )
    return setting_types()[name]


def fits(value: object, hint: object) -> bool:
    """Return whether a value is of a setting's type."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    return is_number(value) if hint is float else type(value) is hint


def type_text(hint: object) -> str:
    """Return a setting's type as text."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) else str(hint)


def to_yaml(space: Space) -> str:
    """Return the space as YAML that `load_space` reads."""
    plain = {name: to_plain(dimension) for name, dimension in space.items()}
    return yaml.safe_dump(plain, sort_keys=False)


def to_plain(dimension: Dimension) -> dict[str, Value | list[Value] | dict[str, Value]]:
    """Return a dimension as in the file; without `when` if it is always used."""
    values = asdict(dimension)
    if "choice" in values:
        values["choice"] = list(values["choice"])
    return {key: value for key, value in values.items() if key != "when" or value}
