"""Which checkpoint of a run is exported: by name, by age, or by a score of its validation."""

from math import isfinite

from cyclegan.errors import CheckpointError
from cyclegan.metrics.selection_score import SELECTION, higher_is_better
from cyclegan.train.checkpoint.checkpoint import best, newest, whole
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from mrct.storage.paths import StoragePath, storage_path


def chosen_checkpoint(run_folder: StoragePath, which: str, metric: str = SELECTION) -> StoragePath:
    """The folder of the checkpoint `which`: `best` in `metric`, `newest`, a name, or a folder.

    It is verified when it is loaded.

    Raises:
        CheckpointError: The run has no such checkpoint, or none that was scored so.
    """
    if which == "newest":
        folder = newest(run_folder)
    elif which == "best":
        folder = best(run_folder) if metric == SELECTION else _best_in(run_folder, metric)
    else:
        named = run_folder / "checkpoints" / which
        return named if named.exists() else storage_path(which)
    if folder is None:
        raise CheckpointError(
            f"{run_folder} has no checkpoint: there is nothing to export. Train it first, "
            f"the same command goes on:\n  python -m cyclegan.train --config "
            f"{run_folder / 'config.yaml'}"
        )
    return folder


def _best_in(run_folder: StoragePath, metric: str) -> StoragePath | None:
    """The whole checkpoint whose validation, at its own step, was best in a score."""
    lines = [line for line in read_lines(run_folder / METRICS) if "step" in line]
    found = {
        int(line["step"]): float(line[metric])
        for line in lines
        if isinstance(line.get(metric), int | float) and isfinite(line[metric])
    }
    folders = list(whole(run_folder))
    scored = [folder for folder in folders if _step_of(folder) in found]
    if folders and not scored:
        known = sorted({name for line in lines for name in line if name.startswith("val/")})
        raise CheckpointError(
            f"no checkpoint of {run_folder} was scored by {metric}. "
            f"Scores of this run: {', '.join(known) or 'none'}."
        )
    sign = -1 if higher_is_better(metric) else 1
    return min(scored, key=lambda folder: sign * found[_step_of(folder)], default=None)


def _step_of(folder: StoragePath) -> int:
    return int(folder.name.removeprefix("step_"))
