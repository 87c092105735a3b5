"""Claim: the selection score, which sees no pair, ranks checkpoints as the hidden real CTs would.

Two cohorts of phantom heads, each with its own runs of very different quality: recipes that work,
recipes that cannot, early and late checkpoints. Every checkpoint's `val/selection` is held against
the masked MAE and bone Dice of the same volumes, by Spearman's rank correlation; cycle SSIM, the
usual stand-in, beside it. Whatever was decided about the score was decided on the cohort `choose`;
`report` was only looked at afterwards, and its figures are the claim. Intervals: 95 % bootstrap
over runs, since checkpoints of one run are alike.

    python -m benchmarks.selection [--out FOLDER] [--minutes N] [--json FILE] [--picture FILE]

Training takes about an hour and a half on two cores; a second call resumes where the first stopped.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.recipes.candidate import START, parse_config
from cyclegan.config.config import Config
from cyclegan.config.files import to_yaml, with_settings
from cyclegan.config.presets import reference, seed
from cyclegan.train.checkpoint.checkpoint import load_generators
from cyclegan.train.checkpoint.folder import saved_checkpoints
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.validation.scores import validation_scores
from data_prep.store.store import open_store
from mrct.storage.atomic import write_atomic

STEPS = 1000
SCORED = (50, 150, 250, 400, 650, 1000)
PHANTOM_SEEDS = {"choose": 101, "report": 202}
SIZE, SPACING_MM = "64 64", "4 3.6 3.6"
DRAWS = 2000


DEMO = parse_config(START)  # the demo of the time when these cohorts were trained
REFERENCE, SEED = reference(), seed()
PLAIN = {"data.mri_contrast": "plain"}
NO_WAY_BACK = {"loss.cycle.weight": 0.0, "loss.identity.weight": 0.0}
RECIPES: dict[str, dict[str, Config]] = {
    "choose": {
        "demo": DEMO,
        "demo, plain contrast": with_settings(DEMO, PLAIN),
        "demo with conditions": with_settings(DEMO, {"data.conditions": True}),
        "reference": REFERENCE,
        "no cycle, no identity": with_settings(DEMO, NO_WAY_BACK),
        "cycle 50, identity 50": with_settings(
            DEMO, {"loss.cycle.weight": 50.0, "loss.identity.weight": 50.0} | PLAIN
        ),
        "rate 25 times higher": with_settings(
            DEMO, {"optimizer.learning_rate": 1e-2, "optimizer.discriminator_learning_rate": 1e-2}
        ),
        "hardly any rate": with_settings(
            DEMO, {"optimizer.learning_rate": 1e-5, "optimizer.discriminator_learning_rate": 1e-5}
        ),
    },
    "report": {
        "demo": DEMO,
        "demo, plain contrast": with_settings(DEMO, PLAIN),
        "demo with conditions": with_settings(DEMO, {"data.conditions": True}),
        "demo, 3 slices": with_settings(DEMO, {"data.neighbours": 1}),
        "reference": REFERENCE,
        "seed": with_settings(SEED, {"batch.shards": 1, "batch.shard_size": 2}),
        "inverted reference": with_settings(REFERENCE, {"data.mri_contrast": "inverted"}),
        "adversarial alone": with_settings(DEMO, NO_WAY_BACK),
        "no adversary": with_settings(DEMO, {"loss.adversarial.enabled": False} | PLAIN),
        "discriminators 20 times faster": with_settings(
            DEMO, {"optimizer.discriminator_learning_rate": 8e-3}
        ),
    },
}
PAIRED = {"mae_hu": "masked MAE", "bone_dice": "bone Dice"}
UNPAIRED = {"selection": "selection score", "cycle_ssim": "cycle SSIM"}
BETTER = {"selection": -1, "cycle_ssim": 1, "mae_hu": -1, "bone_dice": 1}
"""Signs that make more better, so that a perfect ranking is +1."""


def store_of(out: Path, cohort: str) -> Path:
    """The cohort's store, made where it is not there yet."""
    store, heads = out / f"{cohort}.zarr", out / f"{cohort}_heads"
    commands = [
        f"phantom --out {heads} --seed {PHANTOM_SEEDS[cohort]} --num-train-mri 8 --num-train-ct 8 "
        "--num-val 4 --num-test 0 --in-plane-mm 2.5 --slice-mm 4 --anatomy-mm 2.5",
        f"convert --manifest {heads / 'manifest.csv'} --out {store} --spacing-mm {SPACING_MM} "
        f"--size {SIZE}",
    ]
    if not (store / "index.safetensors").exists():
        for command in commands:
            subprocess.run([sys.executable, "-m", "data_prep", *command.split()], check=True)
    return store


def small(config: Config, store: Path, name: str, out: Path, number: int) -> Config:
    """A recipe with networks and a length that two cores can afford; every checkpoint is kept."""
    return with_settings(
        config,
        {
            "run.name": name.replace(" ", "-"),
            "run.storage": str(out),
            "run.seed": number,
            "data.store": str(store),
            "generator.filters": 16,
            "generator.blocks": 4,
            "discriminator.filters": 24,
            "train.max_steps": STEPS,
            "train.compile": "no",
            "train.ema_decay": min(0.99, config.train.ema_decay),
            "schedule.log_every": "50 steps",
            "schedule.save_every": "50 steps",
            "schedule.validate_every": "never",
            "schedule.keep_last": STEPS,
        },
    )


def is_trained(config: Config) -> bool:
    """Whether a run has reached its end."""
    return (config.run_folder / f"checkpoints/step_{STEPS:08d}").exists()


def train(config: Config, is_over: Callable[[], bool]) -> bool:
    """Train a run on; whether it has reached its end."""
    folder = config.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    print(f"\n{folder.name}", flush=True)
    return train_worker(config, Worker(), stop_requested=is_over).step == STEPS


def score_checkpoint(config: Config, step: int) -> dict[str, float]:
    """The scores of a checkpoint on the val split, as training takes them; remembered in a file."""
    folder = config.run_folder
    file = folder / f"measured_{step}.json"
    if not file.exists():
        (checkpoint,) = [
            path for path in saved_checkpoints(folder) if path.name == f"step_{step:08d}"
        ]
        to_ct, to_mri = load_generators(checkpoint, config)
        scores, _ = validation_scores(to_ct, to_mri, open_store(config.store), config)
        cycles = [scores[f"val/cycle_ssim_{modality}"] for modality in ("mri", "ct")]
        kept = {name: scores[f"val/{name}"] for name in (*PAIRED, "selection")}
        write_atomic(file, json.dumps(kept | {"cycle_ssim": float(np.mean(cycles))}).encode())
    return dict(json.loads(file.read_text()))


def correlation(rows: Sequence[dict[str, Any]], ours: str, theirs: str) -> float:
    """Spearman's, +1 where both put the checkpoints in the same order of quality."""
    x, y = ([BETTER[name] * row[name] for row in rows] for name in (ours, theirs))
    return float(spearmanr(x, y).statistic)


def interval(rows: Sequence[dict[str, Any]], ours: str, theirs: str) -> tuple[float, float]:
    """95 % percentile bootstrap: whole runs are drawn, seeded."""
    draw, runs = np.random.default_rng(0), sorted({row["run"] for row in rows})
    of_run = {run: [row for row in rows if row["run"] == run] for run in runs}
    found = [
        correlation(
            [row for run in draw.choice(runs, len(runs)) for row in of_run[run]], ours, theirs
        )
        for _ in range(DRAWS)
    ]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def scatter_plots(rows: Sequence[dict[str, Any]], title: str) -> Figure:
    """Each unpaired score against each paired one, a colour a run, early checkpoints small."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    axes = figure.subplots(2, 2)
    runs = sorted({row["run"] for row in rows})
    for row_axes, (ours, our_label) in zip(axes, UNPAIRED.items(), strict=True):
        for ax, (theirs, their_label) in zip(row_axes, PAIRED.items(), strict=True):
            for number, run in enumerate(runs):
                points = [row for row in rows if row["run"] == run]
                ax.scatter(
                    [row[ours] for row in points],
                    [row[theirs] for row in points],
                    s=[15 + 60 * row["step"] / STEPS for row in points],
                    color=f"C{number}",
                    marker="os^Dv"[number // 4],
                    label=run,
                    alpha=0.75,
                )
            ax.set(xlabel=our_label, ylabel=their_label)
            ax.set_title(f"rank correlation {correlation(rows, ours, theirs):.2f}", size=10)
            ax.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle(title)
    return figure


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Correlations with their intervals, as lines of Markdown."""
    lines = [f"| | {' | '.join(PAIRED.values())} |", "|---|---|---|"]
    for ours, label in UNPAIRED.items():
        cells = []
        for theirs in PAIRED:
            low, high = interval(rows, ours, theirs)
            cells.append(f"{correlation(rows, ours, theirs):.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    between = correlation(rows, "mae_hu", "bone_dice")
    return [*lines, f"| masked MAE itself | 1 | {between:.2f} |"]


def main() -> None:
    """Train what is not trained, score what is not scored, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/selection"))
    parser.add_argument("--minutes", type=float, default=1e6, help="stop training after so long")
    parser.add_argument("--only", choices=list(RECIPES), help="one cohort")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG of the cohort `report`")
    command = parser.parse_args()
    out, until = command.out.absolute(), time.monotonic() + 60 * command.minutes

    def is_over() -> bool:
        return time.monotonic() > until

    rows: dict[str, list[dict[str, Any]]] = {}
    for cohort in [command.only] if command.only else list(RECIPES):
        store, rows[cohort] = store_of(out, cohort), []
        for number, (name, recipe) in enumerate(RECIPES[cohort].items()):
            config = small(recipe, store, name, out / cohort, PHANTOM_SEEDS[cohort] + number)
            if not (is_trained(config) or (not is_over() and train(config, is_over))):
                print(f"{cohort}, {name}: not trained to its end; the same command resumes")
                continue
            rows[cohort] += [
                {"run": name, "step": step, **score_checkpoint(config, step)} for step in SCORED
            ]
    for cohort, found in rows.items():
        print(f"\n{cohort}: {len(found)} checkpoints of {len({row['run'] for row in found})} runs")
        print("\n".join(table(found)))
        for row in sorted(found, key=lambda row: row["selection"]):
            print("  ".join(f"{row[n]:8.3f}" for n in BETTER), f"{row['step']:5}", row["run"])
    if command.json:
        write_atomic(command.json, json.dumps(rows, indent=1).encode())
    if command.picture and "report" in rows:
        scatter_plots(
            rows["report"], "Checkpoints of phantom runs that the score was not chosen on"
        ).savefig(command.picture, dpi=80)


if __name__ == "__main__":
    main()
