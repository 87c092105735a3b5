"""The plots of a report as PNG bytes: scores by volume and height, and learning curves."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclegan.evaluate.scorecard import TRANSLATOR, Scores
from cyclegan.evaluate.wording import LABELS
from cyclegan.scores.selection import SELECTION

DOTS_PER_INCH = 100
NAMED = 40
"""Volumes up to which each has its name below the plot."""
PER_VOLUME = ("mae_hu", "bone_dice")


def volumes_plot(scores: Scores) -> bytes | None:
    """MAE and bone Dice of every pair by every method, the translator's worst volume first; None
    without pairs."""
    ours = {
        row.volume: row.values["mae_hu"]
        for row in scores.volumes
        if row.method == TRANSLATOR and "mae_hu" in row.values
    }
    if not ours:
        return None
    order = sorted(ours, key=lambda volume: -ours[volume])
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for ax, metric in zip(figure.subplots(1, len(PER_VOLUME)), PER_VOLUME, strict=True):
        for number, method in enumerate(scores.methods):
            values = {
                row.volume: row.values[metric]
                for row in scores.volumes
                if row.method == method and metric in row.values
            }
            known = [place for place, volume in enumerate(order) if volume in values]
            ax.plot(
                known,
                [values[order[place]] for place in known],
                label=method,
                marker="o" if method == TRANSLATOR else "x",
                markersize=5,
                linestyle="-" if method == TRANSLATOR else ":",
                linewidth=0.8,
                color=f"C{number}",
            )
        names = [volume.split("/")[-1][:8] for volume in order]
        ax.set_xticks(range(len(order)) if len(order) <= NAMED else [])
        if len(order) <= NAMED:
            ax.set_xticklabels(names, rotation=60, ha="right", size=7)
        ax.set_xlabel("volume, largest error first", size=8)
        tidy(ax, LABELS[metric])
    figure.axes[0].legend(fontsize=7)
    return png(figure)


def heights_plot(scores: Scores) -> bytes | None:
    """The MAE of every method by tenths of the compared height; None without pairs."""
    profiles = {method: scores.mean_heights(method) for method in scores.methods}
    if not any(profiles.values()):
        return None
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    ax = figure.subplots()
    for number, (method, profile) in enumerate(profiles.items()):
        if profile:
            middles = (np.arange(len(profile)) + 0.5) / len(profile)
            values = [np.nan if value is None else value for value in profile]
            ax.plot(middles, values, marker="o", markersize=3, color=f"C{number}", label=method)
    ax.set_xlabel("height: 0 the lowest, 1 the highest compared slice", size=8)
    ax.legend(fontsize=7)
    tidy(ax, LABELS["mae_hu"])
    return png(figure)


def learning_curves(records: Iterable[dict[str, Any]]) -> bytes | None:
    """One small plot per `val/` and `loss/` quantity over the steps; None without any of them."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name.startswith(("val/", "loss/")) and value is not None:
                curves.setdefault(name, []).append((record["step"], value))
    if not curves:
        return None
    names = sorted(curves, key=lambda name: (name != SELECTION, name.startswith("loss/"), name))
    across = 4
    down = -(-len(names) // across)
    tall = 1.9 * down
    figure = Figure(figsize=(3 * across, tall))
    margins = {"left": 0.04, "right": 0.99, "top": 1 - 0.3 / tall, "bottom": 0.3 / tall}
    axes = figure.subplots(
        down, across, squeeze=False, gridspec_kw=margins | {"hspace": 0.45, "wspace": 0.25}
    ).ravel()
    for ax, name in zip(axes, names, strict=False):
        steps, values = zip(*curves[name], strict=True)
        validation = name.startswith("val/")
        ax.plot(
            steps,
            values,
            color="tab:orange" if validation else "tab:blue",
            marker="o" if validation else None,
            markersize=3,
            linewidth=1.2,
        )
        tidy(ax, name)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    return png(figure)


def tidy(ax: Axes, title: str) -> None:
    """The same plain look for every plot."""
    ax.set_title(title, size=9)
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """A figure as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor())
    return file.getvalue()
