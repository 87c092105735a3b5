"""Which recipe makes the best synthetic CT of the phantom at equal compute, and by how much.

    python -m benchmarks.quality run ["PRESET --section.field value" ...] [--seeds 0 1 2]
    python -m benchmarks.quality baselines
    python -m benchmarks.quality table [NAME ...] [--pictures DIR]

Without a list, `run` takes the candidates of `benchmarks/recipes/candidate.py`. A candidate may do
as many steps as the time that the reference recipe takes for `--budget` of its steps: the ratio of
step times is measured with both taking turns. Training and the choice of the checkpoint see no
pair; the truth of the test heads judges every checkpoint afterwards. Each run appends one line
to `--results`; what has its line is not run again. `--minutes` ends a piece of the work (exit code
3): the same command resumes.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipes.candidate import (
    REFERENCE,
    SCREEN,
    Candidate,
    machine,
    settings,
    slug,
)
from benchmarks.recipes.judge import baselines, judge, mean_of, truth
from benchmarks.recipes.pace import DEVICE, step_ratio
from benchmarks.recipes.phantom import FROZEN, phantom, phantom_name
from benchmarks.recipes.table import COLUMNS, draw, print_table
from cyclegan.config.config import Config
from cyclegan.train.checkpoint.folder import saved_checkpoints, score_of
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from data_prep.store.store import Store
from mrct.errors import ExitCode
from mrct.storage.atomic import write_atomic
from mrct.storage.local_path import LocalPath

RESULTS = Path("benchmarks/results/quality.jsonl")
SCREENING_STEPS = 900
"""Of the reference: about 3 minutes on 2 quiet cores (AMD EPYC, AVX-512 bf16)."""
TEXT_KEPT = 160
"""Characters of a warning that a row keeps."""
Row = dict[str, Any]


def main(argv: list[str]) -> ExitCode:
    """Run what has no row yet, or print the table and draw the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=("run", "baselines", "table"), default="run")
    parser.add_argument("candidates", nargs="*", help="presets with their overrides; names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budget", type=int, default=SCREENING_STEPS, help="reference's steps")
    parser.add_argument("--reference", default=REFERENCE, help="whose steps the budget counts")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many (1e9: all)")
    parser.add_argument(
        "--out", type=LocalPath, default=LocalPath("runs/quality"), help="stores and runs"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON lines to append to")
    parser.add_argument("--pictures", type=Path, help="table: folder for curves and slices")
    flags = parser.parse_intermixed_args(argv)
    store = phantom(flags.out)
    found = phantom_name(store, flags.out / "cohort")
    if found != FROZEN:
        print(f"note: this phantom is {found}, the committed rows are of {FROZEN}", flush=True)
    if flags.action == "table":
        rows = [row for row in rows_of(flags.results) if row["phantom"] == found]
        if flags.candidates:
            rows = [row for row in rows if row["name"] in flags.candidates]
        print_table(rows)
        if flags.pictures:
            draw(rows, store_truth(flags.out, store), flags.out / "slices", flags.pictures)
        return ExitCode.DONE
    if flags.action == "baselines":
        append_baselines(flags.results, found, store, flags.out)
        return ExitCode.DONE
    named = {candidate.name: candidate for candidate in SCREEN}
    candidates = [
        named.get(words, Candidate(name=words, words=words)) for words in flags.candidates
    ] or list(SCREEN)
    ends = time.monotonic() + 60 * flags.minutes
    for seed in flags.seeds:
        for candidate in candidates:
            if not compare(candidate, seed, flags, store, found, lambda: time.monotonic() > ends):
                print("time is up; the same command resumes", flush=True)
                return ExitCode.PARTLY_DONE
    return ExitCode.DONE


def compare(
    candidate: Candidate,
    seed: int,
    flags: argparse.Namespace,
    store: Store,
    found: str,
    out_of_time: Callable[[], bool],
) -> bool:
    """Train, judge and append one row; at once where it is there. False: the time was up before."""
    runs = flags.out / f"runs-{found}-{flags.budget}"

    def config_of(words: Candidate, steps: int) -> Config:
        return words.config(Path(str(store.path)), runs, steps=steps, seed=seed)

    config = config_of(candidate, 1)
    key = {
        "phantom": found,
        "budget": flags.budget,
        "reference": flags.reference,
        "seed": seed,
        "settings": settings(config),
    }
    if any(
        all(row.get(name) == value for name, value in key.items()) for row in rows_of(flags.results)
    ):
        return True
    if out_of_time():
        return False
    folder = config.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    pace = folder / "pace.json"
    if not pace.exists():
        reference = config_of(Candidate(name="reference", words=flags.reference), 1)
        pace.write_text(json.dumps({"ratio": step_ratio(config, reference, store)} | machine()))
    paced = json.loads(pace.read_text())
    steps = max(1, round(flags.budget / paced["ratio"]))
    config = config_of(candidate, steps)
    print(f"{candidate.name}, seed {seed}: {steps} steps", flush=True)
    if train_worker(config, Worker(device=DEVICE), stop_requested=out_of_time).step < steps:
        return False
    row = key | {"name": candidate.name, "words": candidate.words, "steps": steps}
    row |= {"step_ratio": round(paced["ratio"], 3), "machine": machine(), "commit": commit()}
    row |= judge_run(
        config, store, flags.out / "slices" / f"{slug(candidate.name)}-{seed}-{flags.budget}.npz"
    )
    append(flags.results, row)
    for point in row["curve"]:
        scores = ", ".join(f"{label} {point[name]:.4g}" for name, label in COLUMNS.items())
        print(f"  step {point['step']}: {scores}", flush=True)
    print(
        f"  selected {row['selected']['mean']}\n"
        f"  regret {row['regret_mae_hu']} HU of {row['oracle_mae_hu']}",
        flush=True,
    )
    return True


def judge_run(config: Config, store: Store, slices: Path) -> Row:
    """The truth's verdict on every checkpoint, the one that was selected, and what it cost."""
    curve, heads, shown = [], [], []
    for folder in saved_checkpoints(config.run_folder):
        if (selection := score_of(folder)) == float("inf"):
            continue  # the one before the first step, or one between that a stop left
        subjects, pictures = judge(folder, config, store)
        facts = {"step": int(folder.name.split("_")[1]), "selection": round(selection, 4)}
        curve.append(facts | mean_of(subjects))
        heads.append(subjects)
        shown.append(pictures)
    chosen = min(range(len(curve)), key=lambda k: (curve[k]["selection"], -curve[k]["step"]))
    oracle = min(curve, key=lambda point: point["mae_hu"])
    lines = read_lines(config.run_folder / METRICS)
    slices.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(slices, selected=shown[chosen], last=shown[-1])
    return {
        "selected": {
            "step": curve[chosen]["step"],
            "mean": mean_of(heads[chosen]),
            "heads": [{name: round(v, 4) for name, v in head.items()} for head in heads[chosen]],
        },
        "last_mean": mean_of(heads[-1]),
        "oracle_mae_hu": oracle["mae_hu"],
        "oracle_step": oracle["step"],
        "regret_mae_hu": round(curve[chosen]["mae_hu"] - oracle["mae_hu"], 2),
        "curve": curve,
        "training_s": round(max(line.get("time_s", 0.0) for line in lines), 1),
        "warnings": [
            {"step": line["step"], "text": line["note"][:TEXT_KEPT]}
            for line in lines
            if line.get("note", "").startswith("warning:")
        ],
    }


def append_baselines(results: Path, found: str, store: Store, out: Path) -> None:
    """Rows of what needs no training; they replace those of the same phantom."""
    made = [
        {
            "phantom": found,
            "baseline": name,
            "name": name,
            "selected": {
                "mean": mean_of(subjects),
                "heads": [{n: round(v, 4) for n, v in head.items()} for head in subjects],
            },
            "commit": commit(),
        }
        for name, subjects in baselines(store, out / "cohort").items()
    ]
    kept = [r for r in rows_of(results) if not (r["phantom"] == found and "baseline" in r)]
    write_rows(results, kept + made)


def store_truth(out: Path, store: Store) -> dict[str, Any]:
    """The MRI and the real CT of the pictured slices, kept beside the runs'."""
    path = out / "slices" / "truth.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **truth(store))
    return dict(np.load(path))


def rows_of(results: Path) -> list[Row]:
    """All rows so far."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text().splitlines() if line]


def write_rows(results: Path, rows: list[Row]) -> None:
    """These rows alone."""
    results.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(results, "".join(json.dumps(row) + "\n" for row in rows).encode())


def append(results: Path, row: Row) -> None:
    """One line more."""
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(row) + "\n")


def commit() -> str:
    """The commit of the working copy, with a + where files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=10"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
