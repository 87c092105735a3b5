"""The figures of a search's report: score against time, importance, and slices of two trials."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from cyclegan.config.files import load_config
from cyclegan.evaluate.report.figures import volume_figure
from cyclegan.evaluate.score_table import ShownVolume
from cyclegan.inference.cycle import CycleNetworks, partner_ct
from cyclegan.metrics.paired_scores import mae_hu
from cyclegan.train.checkpoint import checkpoint
from data_prep.store.store import open_store
from mrct.drawing.curves import Curve, Plot, draw_bars, draw_plots
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath
from tune.search.event_log import Trial
from tune.search.trial_score import Objective

COLOURS = {"done": "tab:blue", "stopped": "0.75", "running": "tab:green"}


def score_over_time(trials: Sequence[Trial], objective: Objective) -> bytes | None:
    """Plot every validation of every trial, and the best so far, over the time of searching, as a
    PNG. None without any score."""
    latest_s = max((score.time_s for trial in trials for score in trial.scores), default=0.0)
    unit, unit_s = ("hours", 3600) if latest_s > 2 * 3600 else ("minutes", 60)
    curves: list[Curve] = []
    points: list[tuple[float, float]] = []
    for trial in trials:
        known = [
            (score.step, score.time_s / unit_s, score.value)
            for score in trial.scores
            if score.value is not None and trial.state != "failed"
        ]
        if known:
            _, times, values = zip(*known, strict=True)
            curves.append(Curve(times, values, line_style(trial.state)))
        # What all trials began with is the best of none of them.
        points += [(moment, value) for step, moment, value in known if step > 0]
    if not points:
        return None
    best: list[float] = []
    points.sort()
    for _, value in points:
        best.append(value if not best else min(value, best[-1], key=objective.cost))
    look = {"drawstyle": "steps-post", "color": "tab:orange", "label": "best so far"}
    curves.append(Curve([moment for moment, _ in points], best, look))
    for state in COLOURS:
        if any(trial.state == state for trial in trials):
            label = "stopped early" if state == "stopped" else state
            curves.append(Curve([], [], line_style(state) | {"label": label}))
    plot = Plot(
        curves=curves,
        x_label=f"{unit} of searching",
        y_label=f"{objective.metric.removeprefix('val/')} ({objective.direction})",
    )
    return draw_plots([plot], (9, 3.4))


def line_style(state: str) -> dict[str, Any]:
    """Return the curve of a trial."""
    colour = COLOURS.get(state, "0.75")
    return {"color": colour, "marker": "o", "markersize": 3, "linewidth": 0.8}


def importance_bars(shares: Mapping[str, float]) -> bytes | None:
    """Plot the importance share of each setting, largest on top, as a PNG; None without any."""
    if not shares:
        return None
    ordered = dict(sorted(shares.items(), key=lambda item: item[1]))
    return draw_bars(ordered, "share of the importance")


def slices_of(run_folder: LocalPath, store_path: StoragePath) -> tuple[bytes, str] | None:
    """Translate the first MRI of the val split, with a real CT if there is any, with a run's best
    trained checkpoint; return a PNG and a caption. None if no checkpoint has a score."""
    if not (run_folder / "config.yaml").exists():
        return None
    found = checkpoint.best_checkpoint(run_folder, trained=True)
    if found is None or not isfinite(checkpoint.score_of(found)):
        return None
    config = load_config(run_folder / "config.yaml")
    store = open_store(store_path)
    to_ct, to_mri = checkpoint.load_generators(found, config)
    networks = CycleNetworks.trained((to_ct, to_mri), config.data)
    volume = store.select("mri", "val").linked_first()[0]
    cycle, real = networks.cycle(store, volume), partner_ct(store, volume)
    error = mae_hu(cycle.translated, *real) if real and real[1].any() else None
    shown = ShownVolume(
        cycle=cycle,
        real=real[0] if real else None,
        compared=real[1] if real else None,
        mae_hu=error,
        spacing_mm=store.spacing_mm,
    )
    words = f"{volume.name}, {found.name}" + (f", {error:.0f} HU" if error is not None else "")
    return volume_figure(shown), words
