"""The plots of a report as PNG bytes: scores by volume and by height, and learning curves."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cyclegan.evaluate.report.labels import LABELS
from cyclegan.evaluate.score_table import TRAIN_CTS, Scores
from cyclegan.inference.cycle import GENERATOR
from cyclegan.metrics.selection_score import SELECTION
from mrct.drawing.curves import Curve, Plot, draw_plots, draw_small_plots

NAMED = 40
"""Largest number of volumes that are labelled below the plot."""
PER_VOLUME = ("mae_hu", "bone_dice")


def volumes_plot(scores: Scores) -> bytes | None:
    """Plot MAE and bone Dice of every pair by every method, the volume with the largest error of
    the generator first; None without pairs."""
    ours = {
        row.volume: row.values["mae_hu"]
        for row in scores.volumes
        if row.method == GENERATOR and "mae_hu" in row.values
    }
    if not ours:
        return None
    order = sorted(ours, key=lambda volume: -ours[volume])
    names = [volume.split("/")[-1][:8] for volume in order]
    plots = []
    for metric in PER_VOLUME:
        curves = []
        for number, method in enumerate(scores.methods):
            look: dict[str, Any] = {"color": f"C{number}", "linewidth": 0.8, "markersize": 5}
            look |= {"marker": "o"} if method == GENERATOR else {"marker": "x", "linestyle": ":"}
            look |= {"label": method} if metric == PER_VOLUME[0] else {}
            values = {
                row.volume: row.values[metric]
                for row in scores.volumes
                if row.method == method and metric in row.values
            }
            known = [position for position, volume in enumerate(order) if volume in values]
            curves.append(Curve(known, [values[order[position]] for position in known], look))
        plots.append(
            Plot(
                curves=curves,
                title=LABELS[metric],
                x_label="volume, largest error first",
                x_names=names if len(names) <= NAMED else [],
            )
        )
    return draw_plots(plots, (12, 3.6))


def heights_plot(scores: Scores) -> bytes | None:
    """Plot the MAE of every method by tenths of the compared height; None without pairs."""
    profiles = {method: scores.mean_heights(method) for method in scores.methods}
    if not any(profiles.values()):
        return None
    curves = []
    for number, (method, profile) in enumerate(profiles.items()):
        if profile:
            middles = [(tenth + 0.5) / len(profile) for tenth in range(len(profile))]
            values = [np.nan if value is None else value for value in profile]
            look = {"color": f"C{number}", "marker": "o", "markersize": 3, "label": method}
            curves.append(Curve(middles, values, look))
    x_label = "height: 0 is the lowest, 1 the highest compared slice"
    return draw_plots([Plot(curves=curves, title=LABELS["mae_hu"], x_label=x_label)], (6, 3.4))


def skull_plot(scores: Scores) -> bytes | None:
    """Plot the mean thickness of the skull, and how much of it is closed, by tenths of the height;
    None without CTs to compare with."""
    if not scores.skulls:
        return None
    plots = []
    for title in ("thickness, mm", "share of directions with bone"):
        curves = []
        for number, method in enumerate((TRAIN_CTS, *scores.methods)):
            if skull := scores.skulls.get(method):
                profile = skull.mean_mm if title == "thickness, mm" else skull.closed
                middles = [(tenth + 0.5) / len(profile) for tenth in range(len(profile))]
                values = [np.nan if value is None else value for value in profile]
                look: dict[str, Any] = {"marker": "o", "markersize": 3, "label": method}
                look |= {"color": "k" if method == TRAIN_CTS else f"C{number - 1}"}
                curves.append(Curve(middles, values, look))
        plots.append(Plot(curves=curves, title=title, x_label="height: 0 lowest, 1 highest slice"))
    return draw_plots(plots, (12, 3.4))


def learning_curves(records: Iterable[dict[str, Any]]) -> bytes | None:
    """Draw one small plot per `val/` and `loss/` quantity over the steps; None if there are
    none."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name.startswith(("val/", "loss/")) and value is not None:
                curves.setdefault(name, []).append((record["step"], value))
    if not curves:
        return None
    names = sorted(curves, key=lambda name: (name != SELECTION, name.startswith("loss/"), name))
    plots = []
    for name in names:
        steps, values = zip(*curves[name], strict=True)
        look: dict[str, Any] = {"color": "tab:blue", "linewidth": 1.2}
        if name.startswith("val/"):
            look |= {"color": "tab:orange", "marker": "o", "markersize": 3}
        plots.append(Plot(curves=[Curve(steps, values, look)], title=name))
    return draw_small_plots(plots, num_columns=4)
