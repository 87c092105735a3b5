"""The pictures of a search's report: score against time, importance, and slices of two trials."""

from collections.abc import Mapping, Sequence
from math import isfinite

from matplotlib.figure import Figure

from cyclegan.config_file import load_config
from cyclegan.evaluate.figures import volume_figure
from cyclegan.evaluate.plots import png
from cyclegan.evaluate.scorecard import Shown
from cyclegan.infer.cycle import BothWays
from cyclegan.infer.pairs import linked_ct
from cyclegan.scores.metrics import mae_hu
from cyclegan.train import checkpoint
from data_prep.local_path import LocalPath
from data_prep.store import open_store
from tune.ledger import Trial
from tune.objective import Objective

COLOURS = {"done": "tab:blue", "stopped": "0.75", "running": "tab:green"}


def score_over_time(trials: Sequence[Trial], objective: Objective) -> bytes | None:
    """Every validation of every trial, and the best so far, over the time of searching, as a PNG.
    None without any score."""
    latest_s = max((score.time_s for trial in trials for score in trial.scores), default=0.0)
    unit, unit_s = ("hours", 3600) if latest_s > 2 * 3600 else ("minutes", 60)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    ax = figure.subplots()
    points: list[tuple[float, float]] = []
    for trial in trials:
        own = [
            (score.time_s / unit_s, score.value)
            for score in trial.scores
            if score.value is not None and trial.state != "failed"
        ]
        if own:
            times, values = zip(*own, strict=True)
            colour = COLOURS.get(trial.state, "0.75")
            ax.plot(times, values, color=colour, marker="o", markersize=3, linewidth=0.8)
            points += own
    if not points:
        return None
    best: list[float] = []
    points.sort()
    for _, value in points:
        best.append(value if not best else min(value, best[-1], key=objective.cost))
    ax.step(
        [moment for moment, _ in points],
        best,
        where="post",
        color="tab:orange",
        label="best so far",
    )
    for state, colour in COLOURS.items():
        if any(trial.state == state for trial in trials):
            label = "stopped early" if state == "stopped" else state
            ax.plot([], [], color=colour, marker="o", markersize=3, linewidth=0.8, label=label)
    ax.set_xlabel(f"{unit} of searching")
    ax.set_ylabel(f"{objective.metric.removeprefix('val/')} ({objective.direction})")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return png(figure)


def importance_bars(shares: Mapping[str, float]) -> bytes | None:
    """The share of each setting, longest bar on top, as a PNG; None without any."""
    if not shares:
        return None
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = Figure(figsize=(7, 0.6 + 0.26 * len(ordered)), layout="constrained")
    ax = figure.subplots()
    bars = ax.barh([name for name, _ in ordered], [share for _, share in ordered])
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    ax.margins(x=0.1)
    ax.tick_params(labelsize=8)
    ax.set_xlabel("share of the importance")
    ax.spines[["top", "right"]].set_visible(False)
    return png(figure)


def slices_of(run_folder: LocalPath) -> tuple[bytes, str] | None:
    """The first MRI of the val split, one with a real CT if there is any, through a run's best
    checkpoint, as a PNG and a line of words. None where it has no checkpoint with a score."""
    if not (run_folder / "config.yaml").exists():
        return None
    found = checkpoint.best(run_folder)
    if found is None or not isfinite(checkpoint.score_of(found)):
        return None
    config = load_config(run_folder / "config.yaml")
    store = open_store(config.store)
    to_ct, to_mri = checkpoint.load_translators(found, config)
    networks = BothWays.trained((to_ct, to_mri), config.data)
    volume = store.select("mri", "val").linked_first()[0]
    cycle, real = networks.cycle(store, volume), linked_ct(store, volume)
    error = mae_hu(cycle.translated, *real) if real and real[1].any() else None
    shown = Shown(
        cycle=cycle,
        real=real[0] if real else None,
        compared=real[1] if real else None,
        mae_hu=error,
        spacing_mm=store.spacing_mm,
    )
    words = f"{volume.name}, {found.name}" + (f", {error:.0f} HU" if error is not None else "")
    return volume_figure(shown), words
