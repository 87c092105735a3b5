"""Draws curves and bars in a uniform style, as PNG bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mrct.drawing.slices import png


class Curve(NamedTuple):
    """One line of a plot."""

    x: Sequence[float]
    y: Sequence[float]
    look: Mapping[str, Any]
    """Keyword arguments of matplotlib (colour, marker, ...); a `label` adds it to the legend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Curves on the same axes."""

    curves: Sequence[Curve]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_names: Sequence[str] | None = None
    """Labels at x = 0, 1, 2, ... instead of numbers."""


def draw_plots(plots: Sequence[Plot], inches: tuple[float, float]) -> bytes:
    """Draw plots side by side, as a PNG of this width and height."""
    figure = Figure(figsize=inches, layout="constrained")
    for ax, plot in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
        _draw(ax, plot)
    return png(figure)


def draw_small_plots(plots: Sequence[Plot], num_columns: int) -> bytes:
    """Draw many plots in rows of `num_columns`, as a PNG."""
    num_rows = -(-len(plots) // num_columns)
    tall = 1.9 * num_rows
    figure = Figure(figsize=(3 * num_columns, tall))
    # Fixed margins: matplotlib's own layout engines take seconds for many axes.
    margins = {"left": 0.04, "right": 0.99, "top": 1 - 0.3 / tall, "bottom": 0.3 / tall}
    figure.subplots_adjust(**margins, hspace=0.45, wspace=0.25)
    for number, plot in enumerate(plots, start=1):
        _draw(figure.add_subplot(num_rows, num_columns, number), plot)
    return png(figure)


def draw_bars(lengths: Mapping[str, float], x_label: str) -> bytes:
    """Draw labelled horizontal bars with their values, the last one on top, as a PNG."""
    figure = Figure(figsize=(7, 0.6 + 0.26 * len(lengths)), layout="constrained")
    ax = figure.subplots()
    bars = ax.barh(list(lengths), list(lengths.values()))
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    ax.margins(x=0.1)
    _tidy(ax, x_label)
    return png(figure)


def hex_colour(share: float, colours: str) -> str:
    """Return the colour at a position, 0 to 1, of a matplotlib colour map, as #rrggbb."""
    return str(to_hex(colormaps[colours](share)))


def _draw(ax: Axes, plot: Plot) -> None:
    for x, y, look in plot.curves:
        ax.plot(x, y, **look)
    if plot.x_names is not None:
        ax.set_xticks(range(len(plot.x_names)), plot.x_names, rotation=60, ha="right", size=7)
    ax.set_title(plot.title, size=9)
    ax.set_ylabel(plot.y_label, size=8)
    ax.grid(alpha=0.3)
    if any("label" in curve.look for curve in plot.curves):
        ax.legend(fontsize=7)
    _tidy(ax, plot.x_label)


def _tidy(ax: Axes, x_label: str) -> None:
    ax.set_xlabel(x_label, size=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
