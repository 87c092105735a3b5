"""When a run logs, validates and saves, and what share of the clock training takes.

By steps or pairs, every worker decides alike. By time, worker 0 decides, and the others learn it
where all workers look for stop requests.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from cyclegan.config.config import Config
from cyclegan.config.interval import Interval, parse_interval
from mrct.progress import duration

Event = Literal["log", "validate", "save"]
EVENTS: tuple[Event, ...] = ("log", "validate", "save")
AUTO_STEPS: dict[Event, int] = {"log": 50, "validate": 1000, "save": 1000}
"""What `auto` means in a deterministic run."""
MAX_SHARE = 0.05
"""Share of the clock that validating and saving may take with `auto`."""
AUTO_S: dict[Event, float] = {"log": 10.0, "validate": 120.0, "save": 600.0}
"""With `auto`: the shortest time between two log lines and between two validations, and the longest
between two checkpoints."""


@dataclass(kw_only=True, slots=True)
class Occurrence:
    """What is known of one kind of event."""

    interval: Interval
    step: int
    """Step of the last one, or of the start."""
    ended_s: float
    """Time of the clock when it ended."""
    took_s: float = 0.0
    """How long it held the training."""
    all_took_s: float = 0.0
    """How long all of them did."""
    due: bool = False
    """Whether worker 0's clock has made it due."""


def interval_of(config: Config, event: Event) -> Interval:
    """Return the interval between events of a kind; no clock decides in a deterministic run."""
    name = f"{event}_every"
    interval = parse_interval(f"schedule.{name}", getattr(config.schedule, name))
    if config.train.deterministic and interval.unit == "auto":
        return Interval("steps", AUTO_STEPS[event])
    return interval


class PeriodicEvents:
    """The periodic events of a run. All workers must call each method alike."""

    def __init__(
        self, config: Config, step: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin at a step, now.

        Args:
            config: Configuration of the run.
            step: Steps done.
            clock: Returns the time in seconds.
        """
        self.batch, self.clock, self.started = config.batch.global_size, clock, clock()
        self.of: dict[Event, Occurrence] = {}
        for event in EVENTS:
            interval = interval_of(config, event)
            self.of[event] = Occurrence(interval=interval, step=step, ended_s=self.started)

    def due_by_clock(self, step: int, write_s: float) -> list[float]:
        """Return 1 for each event that the clock makes due, else 0; only worker 0's count.

        Args:
            step: Steps done.
            write_s: Time until the last checkpoint was committed. The next one begins so much
                earlier, since a kill costs the time since the state of the last committed one.
        """
        now, log, validate, save = self.clock(), *self.of.values()
        log.step = min(log.step, step)  # a rollback leads to earlier steps
        flags = []
        for event, last in self.of.items():
            every_s = AUTO_S[event] if last.interval.unit == "auto" else last.interval.amount
            if last is save:
                every_s -= min(write_s, every_s / 2)
            flags.append(last.interval.by_clock and now - last.ended_s >= every_s)
        if log.interval.unit == "auto":  # a mean over a few steps would only show noise
            flags[0] &= step - log.step >= AUTO_STEPS["log"]
        if validate.interval.unit == "auto":
            next_s, most_s = validate.took_s + save.took_s, AUTO_S["save"]
            affordable = self.held_s + next_s <= MAX_SHARE * (now - self.started + next_s)
            # A first validation, of unknown cost, must not put off a second one of moderate cost.
            late = now - validate.ended_s >= most_s and next_s <= MAX_SHARE * most_s
            flags[1] &= affordable or late
        return [float(flag) for flag in flags]

    def take(self, flags: Sequence[float]) -> None:
        """Take over what worker 0's clock has made due."""
        for last, flag in zip(self.of.values(), flags, strict=True):
            last.due |= flag > 0

    def make_due(self, event: Event) -> None:
        """Let an event happen after the next step."""
        self.of[event].due = True

    def is_due(self, event: Event, step: int) -> bool:
        """Return whether an event is due after a step."""
        last = self.of[event]
        return last.due or last.interval.ends_at(step, self.batch)

    @contextmanager
    def happens(self, event: Event, step: int) -> Iterator[None]:
        """Measure how long an event, in the context, holds the training."""
        began, last = self.clock(), self.of[event]
        yield
        last.step, last.ended_s, last.due = step, self.clock(), False
        last.took_s = last.ended_s - began
        last.all_took_s += last.took_s

    @property
    def held_s(self) -> float:
        """Seconds that validating and saving held the training."""
        return self.of["validate"].all_took_s + self.of["save"].all_took_s

    @property
    def training_percent(self) -> float:
        """Share of the clock that was neither validation nor saving, in percent."""
        return 100 * (1 - self.held_s / max(self.clock() - self.started, 1e-9))

    def __str__(self) -> str:
        ran_s = max(self.clock() - self.started, 1e-9)
        validated_s, saved_s = (self.of[event].all_took_s for event in ("validate", "save"))
        return (
            f"Training took {self.training_percent:.1f} % of {duration(ran_s)} (validating "
            f"{100 * validated_s / ran_s:.1f} %, saving {100 * saved_s / ran_s:.1f} %)"
        )
