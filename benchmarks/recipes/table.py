"""The results as one table with intervals, curves over steps, and the same slices of all runs."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from benchmarks.recipes.candidate import slug
from cyclegan.evaluate.report.baseline_wins import cost_of
from cyclegan.metrics.statistics import mean_interval

Row = dict[str, Any]
COLUMNS = {"mae_hu": "MAE HU", "psnr_db": "PSNR", "ssim": "SSIM", "bone_dice": "Dice"}
TISSUES = {
    "mae_air_hu": "air",
    "mae_air_rim_hu": "rim",
    "mae_air_cavity_hu": "cavity",
    "mae_soft_hu": "soft",
    "mae_bone_hu": "bone",
}
OTHERS = {"bias_hu": "bias", "skull_mismatch_mm": "skull mm", "skill": "skill", "patient_r": "r"}
"""What older rows lack."""
BONE_WINDOW = (-450.0, 1050.0)


def print_table(rows: list[Row]) -> None:
    """Markdown: a line per candidate and budget, best MAE first, after what needs no training.

    Scores are of the selected checkpoint, means over seeds and heads. The interval is the bootstrap
    over heads (each the mean over seeds): it says what other heads would change, not other seeds.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get("budget", 0), row["name"]].append(row)
    heads = ["recipe", "seeds", "steps", "s", *COLUMNS.values(), *TISSUES.values()]
    heads += OTHERS.values()
    heads += ["last MAE", "regret MAE", "warned at"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for _, found in sorted(groups.items(), key=lambda item: (item[0][0], mae(item[1]))):
        cells = [title(found[0])]
        trained = "curve" in found[0]
        cells += [str(len(found)), spread(found, "steps"), spread(found, "training_s")]
        for metric in COLUMNS:
            cells.append(with_interval(found, metric))
        cells += [rounded(mean(found, metric), 0) for metric in (*TISSUES, "bias_hu")]
        cells += [rounded(mean(found, metric), 2) for metric in OTHERS if metric != "bias_hu"]
        if trained:
            last = np.mean([row["last_mean"]["mae_hu"] for row in found])
            regrets = [row["regret_mae_hu"] for row in found]
            warned = [
                min((w["step"] for w in row["warnings"] if LOCK_IN in w["text"]), default=None)
                for row in found
            ]
            cells += [f"{last:.0f}", f"{np.mean(regrets):.1f}"]
            cells.append(", ".join("-" if step is None else str(step) for step in warned))
        else:
            cells += ["", "", ""]
        print("| " + " | ".join(cells) + " |")
    for sentence in beaten_by_baselines(list(groups.values())):
        print(sentence)


def beaten_by_baselines(groups: list[list[Row]]) -> Iterator[str]:
    """A sentence per baseline and score, naming the recipes that it beats."""
    trained = [rows for rows in groups if "curve" in rows[0]]
    for baseline in (rows for rows in groups if "baseline" in rows[0]):
        if baseline[0]["name"] == FLOOR:
            continue
        for metric, label in {**COLUMNS, **TISSUES}.items():
            best = mean(baseline, metric)
            worse = [
                title(rows[0])
                for rows in trained
                if best is not None
                and (reached := mean(rows, metric)) is not None
                and cost_of(metric, reached) > cost_of(metric, best)
            ]
            if worse:
                yield f"{baseline[0]['name']} is better in {label} than {', '.join(worse)}"


def title(row: Row) -> str:
    """A recipe's name with its budget, a baseline's without."""
    return f"{row['name']} ({row['budget']})" if "budget" in row else str(row["name"])


FLOOR = "resolution floor (true CT)"
"""The baseline that is no translation of an MRI."""
LOCK_IN = "contrast lock-in"
"""What the watch's warning begins with; a row keeps no more than its beginning."""


def mean(rows: list[Row], metric: str) -> float | None:
    """Over seeds and heads; None if a row lacks the score."""
    values = [row["selected"]["mean"].get(metric) for row in rows]
    return None if None in values else float(np.mean(values))


def rounded(value: float | None, digits: int) -> str:
    """As text; a dash for what is unknown."""
    return "-" if value is None else f"{value:.{digits}f}"


def mae(rows: list[Row]) -> float:
    """What the table is sorted by."""
    return float(np.mean([row["selected"]["mean"]["mae_hu"] for row in rows]))


def spread(rows: list[Row], name: str) -> str:
    """A number of every seed, or the range of it."""
    values = sorted({round(row[name]) for row in rows if name in row})
    return "-".join(str(v) for v in (values[:1] + values[-1:] if len(values) > 1 else values))


def with_interval(rows: list[Row], metric: str) -> str:
    """The mean, and its 95 % bootstrap interval over heads."""
    per_head = np.mean(
        [[head[metric] for head in row["selected"]["heads"]] for row in rows], axis=0
    ).tolist()
    digits = 0 if metric == "mae_hu" else 1 if metric == "psnr_db" else 3
    text = f"{np.mean(per_head):.{digits}f}"
    if between := mean_interval(per_head, [str(k) for k in range(len(per_head))]):
        text += f" [{between[0]:.{digits}f}, {between[1]:.{digits}f}]"
    return text


def draw(rows: list[Row], truth: dict[str, NDArray[Any]], slices: Path, out: Path) -> None:
    """`curves.png` and `slices.png` in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    runs = sorted((row for row in rows if "curve" in row), key=lambda row: mae([row]))
    matplotlib.use("Agg")
    draw_curves(runs, out / "curves.png")
    draw_slices(runs, truth, slices, out / "slices.png")


def draw_curves(runs: list[Row], path: Path) -> None:
    """MAE and Dice over the share of the run; a ring marks the checkpoint that was selected."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(13, 5), constrained_layout=True)
    for number, row in enumerate(runs):
        share = [point["step"] / row["steps"] for point in row["curve"]]
        colour = plt.get_cmap("tab20")(number % 20)
        for axis, metric in zip(axes, ("mae_hu", "bone_dice"), strict=True):
            values = [point[metric] for point in row["curve"]]
            axis.plot(share, values, color=colour, label=f"{title(row)}, {row['seed']}")
            chosen = [p["step"] for p in row["curve"]].index(row["selected"]["step"])
            axis.plot(share[chosen], values[chosen], "o", color=colour, fillstyle="none", ms=9)
            axis.set_xlabel("share of the run")
    axes[0].set_ylabel("masked MAE, HU")
    axes[1].set_ylabel("bone Dice")
    axes[1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def draw_slices(runs: list[Row], truth: dict[str, NDArray[Any]], slices: Path, path: Path) -> None:
    """A row per run below the MRI and the real CT; bone window [-450, 1050] HU, first two heads."""
    from matplotlib import pyplot as plt

    count = min(8, len(truth["ct"]))
    rows = [
        ("MRI", truth["mri"][:count], (-1.0, 1.0)),
        ("real CT", truth["ct"][:count], BONE_WINDOW),
    ]
    for run in runs:
        file = slices / f"{slug(run['name'])}-{run['seed']}-{run['budget']}.npz"
        if file.exists():
            label = fill(title(run), 28) + f"\nseed {run['seed']}, {mae([run]):.0f} HU"
            rows.append((label, np.load(file)["selected"][:count], BONE_WINDOW))
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(1.1 * count + 2, 1.15 * len(rows)), constrained_layout=True
    )
    for axis, (label, images, (low, high)) in zip(axes, rows, strict=True):
        axis.imshow(np.concatenate(list(images), axis=1), cmap="gray", vmin=low, vmax=high)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_ylabel(label, fontsize=6, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)
