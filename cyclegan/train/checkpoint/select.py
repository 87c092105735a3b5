"""Choice of a run's checkpoint: by name, by age, or by a validation score."""

import sys
from math import isfinite

from cyclegan.errors import CheckpointError
from cyclegan.metrics.selection_score import SELECTION, higher_is_better
from cyclegan.train.checkpoint.checkpoint import (
    best_checkpoint,
    complete_checkpoints,
    newest_checkpoint,
    score_of,
)
from cyclegan.train.monitor.metrics_log import METRICS, count_damaged_lines, read_lines
from mrct.storage.paths import StoragePath, storage_path


def select_checkpoint(run_folder: StoragePath, which: str, metric: str = SELECTION) -> StoragePath:
    """Return the folder of a checkpoint, which is verified when it is loaded.

    Args:
        run_folder: Folder of the run.
        which: `best`, `newest`, a name such as `step_00001000`, or the path of a checkpoint.
        metric: Score that `best` refers to, by its name in `metrics.jsonl`.

    Raises:
        CheckpointError: The run has no checkpoint, or none with this score.
    """
    if which == "newest":
        folder = newest_checkpoint(run_folder)
    elif which == "best":
        folder = (
            best_checkpoint(run_folder) if metric == SELECTION else _best_in(run_folder, metric)
        )
    else:
        named = run_folder / "checkpoints" / which
        return named if named.exists() else storage_path(which)
    if folder is None:
        raise CheckpointError(
            f"Run {run_folder} has no checkpoint: there is nothing to export. Train it first; "
            f"the same command resumes it:\n  python -m cyclegan.train --config "
            f"{run_folder / 'config.yaml'}"
        )
    return folder


def _best_in(run_folder: StoragePath, metric: str) -> StoragePath | None:
    """Return the intact checkpoint with the best value of a score at its own step."""
    lines = [line for line in read_lines(run_folder / METRICS) if "step" in line]
    found = {
        int(line["step"]): float(line[metric])
        for line in lines
        if isinstance(line.get(metric), int | float) and isfinite(line[metric])
    }
    folders = list(complete_checkpoints(run_folder))
    scored = [folder for folder in folders if _step_of(folder) in found]
    if folders and not scored:
        known = sorted({name for line in lines for name in line if name.startswith("val/")})
        raise CheckpointError(
            f"No checkpoint of {run_folder} has the score {metric}. "
            f"Scores of this run: {', '.join(known) or 'none'}."
        )
    if lost := [f.name for f in folders if f not in scored and isfinite(score_of(f))]:
        damaged = count_damaged_lines(run_folder / METRICS)
        print(
            f"warning: {METRICS} has no {metric} of {', '.join(lost)}, which validation has scored "
            f"({damaged} damaged lines): the best of the others is taken.",
            file=sys.stderr,
        )
    sign = -1 if higher_is_better(metric) else 1
    return min(scored, key=lambda folder: sign * found[_step_of(folder)], default=None)


def _step_of(folder: StoragePath) -> int:
    return int(folder.name.removeprefix("step_"))
