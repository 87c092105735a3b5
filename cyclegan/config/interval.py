"""Intervals between periodic events: by time, by pairs or by steps, automatic, or never."""

import re
from dataclasses import dataclass
from typing import Literal

from cyclegan.errors import ConfigError

Unit = Literal["auto", "never", "steps", "pairs", "seconds"]
SECONDS = {"second": 1, "minute": 60, "hour": 3600}
FORMATS = '"auto", "never", "1000 steps", "50_000 pairs", "90 seconds", "10 minutes" or "2 hours"'


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, as parsed from a setting."""

    unit: Unit
    amount: float = 0.0
    """Steps, pairs or seconds; 0 for the other units."""

    @property
    def by_clock(self) -> bool:
        """Whether the clock decides, so that two runs may differ."""
        return self.unit in ("auto", "seconds")

    def ends_at(self, step: int, global_batch: int) -> bool:
        """Return whether an interval by steps or pairs ends with a step; False for other units."""
        each = {"steps": 1, "pairs": global_batch}.get(self.unit)
        if each is None:
            return False
        return step * each // self.amount > (step - 1) * each // self.amount


WITHOUT_AMOUNT = (Interval("auto"), Interval("never"))


def parse_interval(name: str, text: object) -> Interval:
    """Parse the value of a setting.

    Args:
        name: Name of the setting, for messages.
        text: `auto`, `never`, or a number and its unit.

    Raises:
        ConfigError: The text is none of these; the message lists them.

    Examples:
        >>> parse_interval("schedule.save_every", "10 minutes")
        Interval(unit='seconds', amount=600.0)
    """
    for interval in WITHOUT_AMOUNT:
        if text == interval.unit:
            return interval
    matched = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?) ?(step|pair|second|minute|hour)s?", str(text))
    if not matched or not float(matched[1]):
        raise ConfigError(f"{name} is {text!r}; it must be like {FORMATS}.")
    amount, word = float(matched[1]), matched[2]
    if word in SECONDS:
        return Interval("seconds", amount * SECONDS[word])
    if not amount.is_integer():
        raise ConfigError(f"{name} is {text!r}; {word}s are counted in whole numbers.")
    return Interval("steps" if word == "step" else "pairs", amount)
