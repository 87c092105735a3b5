"""Parallel coordinates: one line per trial, through one axis for each setting and the score. The
module computes the geometry of an SVG; the template adds colours and text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from tune.search.console import short_value, varied_settings
from tune.search.event_log import Trial
from tune.search.trial_score import Objective
from tune.space.space import Choice, Space, is_number

HEIGHT, TOP, STEP = 300.0, 60.0, 120.0
"""In pixels: height of an axis, margin above it, distance between axes."""
OFF_GAP = 28.0
"""Position below an axis for trials that have the setting off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A vertical axis with ticks."""

    label: str
    x: float
    ticks: tuple[tuple[float, str], ...]
    """Ticks as (y, label)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The line of a trial."""

    trial: Trial
    points: str
    """Points in the format of SVG."""
    rank: float
    """0 for the best, 1 for the worst."""
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelCoordinates:
    """The axes and lines of a plot."""

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    """Lines with the best last, so that it is drawn over the others."""
    width: float
    height: float


def parallel_coordinates(
    trials: Sequence[Trial], space: Space, objective: Objective
) -> ParallelCoordinates | None:
    """Return the plot of the trials with a score; None with fewer than two."""
    scored = [trial for trial in trials if trial.score(objective) is not None]
    if len(scored) < 2:
        return None
    scales = {
        name: scale_of(name, scored, space) for name in varied_settings(scored) if name in space
    }
    scores = [trial.score(objective) for trial in scored]
    last = Scale(
        places=spread_points([score for score in scores if score is not None], by_log=False),
        # The best score is at the top for every metric.
        flipped=objective.mode == "min",
        seen=frozenset(map(repr, scores)),
    )
    xs = [STEP / 2 + STEP * number for number in range(len(scales) + 1)]
    axes = [
        Axis(label=name.removeprefix("loss.").removeprefix("optimizer."), x=x, ticks=scale.ticks())
        for (name, scale), x in zip(scales.items(), xs, strict=False)
    ]
    axes.append(Axis(label=objective.metric.removeprefix("val/"), x=xs[-1], ticks=last.ticks()))
    lines = []
    for number, (trial, score) in enumerate(zip(scored, scores, strict=True)):
        ys = [scale.y(trial.values.get(name)) for name, scale in scales.items()]
        points = zip(xs, [*ys, last.y(score)], strict=True)
        settings = ", ".join(f"{name} {short_value(value)}" for name, value in trial.values.items())
        lines.append(
            Line(
                trial=trial,
                points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
                rank=number / (len(scored) - 1),
                title=f"{trial.name}: {score:.4g} ({trial.state}, step {trial.step})\n{settings}",
            )
        )
    return ParallelCoordinates(
        axes=tuple(axes),
        lines=tuple(reversed(lines)),
        width=STEP * len(xs),
        height=TOP + HEIGHT + 2 * OFF_GAP,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The scale of an axis."""

    places: dict[str, float] | tuple[float, float, bool]
    """Position of each choice, from 0 to 1; or the lowest and the highest number, and whether the
    axis is logarithmic."""
    flipped: bool = False
    seen: frozenset[str]
    """Values of the trials."""

    def y(self, value: object) -> float:
        """Return the position in pixels; below the axis if a trial has no value."""
        if value is None:
            return TOP + HEIGHT + OFF_GAP
        if isinstance(self.places, dict):
            share = self.places[repr(value)]
        else:
            low, high, by_log = self.places
            assert is_number(value)
            share = (
                (log(value) - log(low)) / (log(high) - log(low))
                if by_log
                else (value - low) / (high - low)
            )
        return TOP + HEIGHT * (share if self.flipped else 1 - share)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return the ticks with labels."""
        if isinstance(self.places, dict):
            found = [
                (TOP + HEIGHT * (1 - share), text.strip("'")) for text, share in self.places.items()
            ]
        else:
            low, high, by_log = self.places
            middle = (low * high) ** 0.5 if by_log else (low + high) / 2
            found = [(self.y(value), f"{value:.3g}") for value in (low, middle, high)]
        if "None" in self.seen:
            found.append((TOP + HEIGHT + OFF_GAP, "off"))
        return tuple(found)


def scale_of(name: str, trials: Sequence[Trial], space: Space) -> Scale:
    """Return the axis of a setting for the values of all trials, including those outside the
    space."""
    values = [trial.values.get(name) for trial in trials]
    seen = frozenset(map(repr, values))
    dimension = space[name]
    if isinstance(dimension, Choice):
        listed = dict.fromkeys(
            repr(value) for value in (*dimension.choice, *values) if value is not None
        )
        places = {text: k / max(1, len(listed) - 1) for k, text in enumerate(listed)}
        return Scale(places=places, seen=seen)
    numbers = [float(value) for value in values if is_number(value)]
    by_log = dimension.log and min(numbers, default=1.0) > 0
    return Scale(places=spread_points([dimension.low, dimension.high, *numbers], by_log), seen=seen)


def spread_points(numbers: Sequence[float], by_log: bool) -> tuple[float, float, bool]:
    """Return the lowest and the highest number, widened if they are equal."""
    low, high = min(numbers), max(numbers)
    return low, high if high > low else low + 1, by_log
