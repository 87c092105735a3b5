"""Values of settings as they are read from files, checked against the types of their fields."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from cyclegan.errors import ConfigError

_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WANTED = {
    bool: "true or false, without quotes",
    int: "a whole number of at most 64 bits",
    float: "a finite number",
    str: "text, in quotes where it looks like a number",
}

_REPR = Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 100


def typed(value: object, hint: Any, name: str) -> Any:
    """Return a value in the type of its setting.

    Numbers may be text, since YAML reads 1e-4, without a dot, as text; a switch of "yes" and "no"
    may be a boolean, since YAML reads these words, without quotes, as booleans.

    Args:
        value: Value as parsed from YAML or JSON.
        hint: Type of the setting; values of types other than bool, int, float, str, Literal, tuples
            and optional ones of these are returned as they are.
        name: Name of the setting, for the message.

    Raises:
        ConfigError: The value is of another type, or none of those that are allowed.

    Examples:
        >>> typed("1e-4", float, "optimizer.learning_rate"), typed(False, Literal["no", "all"], "x")
        (0.0001, 'no')
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        others = [each for each in inner if each is not NoneType]
        return typed(value, others[0], name) if len(others) == 1 else value
    if origin is Literal:
        return _chosen(value, inner, name)
    if origin is tuple:
        values = list(value) if isinstance(value, list | tuple) else []
        types = inner[:1] * len(values) if inner[-1] is Ellipsis else inner
        if isinstance(value, list | tuple) and len(types) == len(values):
            return tuple(
                typed(each, type_, name) for each, type_ in zip(values, types, strict=True)
            )
        wanted = "a list" if inner[-1] is Ellipsis else f"a list of {len(inner)}"
        raise ConfigError(f"{name} is {shown(value)}; it must be {wanted}.")
    if hint in (int, float):
        number = _number(value)
        if number is not None and (
            hint is float or (number == int(number) and abs(number) < 2**63)
        ):
            # A whole number stays one: the hash of the settings tells 200 and 200.0 apart.
            return int(number) if hint is int else number
    elif hint not in _WANTED or type(value) is hint:
        return value
    raise ConfigError(f"{name} is {shown(value)}; it must be {_WANTED[hint]}.")


def shown(value: object) -> str:
    """Return a value for a message, shortened.

    Aliases of YAML can make of a few lines a value whose whole text fills the memory.

    Examples:
        >>> shown([1, "two"])
        "[1, 'two']"
    """
    return _REPR.repr(value)


def did_you_mean(given: object, known: Iterable[object]) -> str:
    """Return a question that ends a message, about the known word nearest to a given one, or "".

    Examples:
        >>> did_you_mean("brain_256", ["brain-256", "demo"])
        " Did you mean 'brain-256'?"
    """
    words = {str(word).lower(): word for word in known}
    near = get_close_matches(str(given).lower(), words, n=1)
    return f" Did you mean {words[near[0]]!r}?" if near else ""


def _chosen(value: object, choices: tuple[Any, ...], name: str) -> Any:
    if isinstance(value, bool):
        value = ("no", "yes")[value] if {"no", "yes"} & {*choices} else value
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    listed = ", ".join(map(repr, choices))
    raise ConfigError(
        f"{name} is {shown(value)}; it must be one of {listed}.{did_you_mean(value, choices)}"
    )


def _number(value: object) -> int | float | None:
    """Return the finite number that a value is or, as text, states."""
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if isfinite(value) else None
    except OverflowError:  # a whole number beyond those of floating point
        return None
