"""The checkpoints of a run as folders: which are there and whole, which is best, which may go.

A checkpoint is `checkpoints/step_00001000` in the run's folder, locally or on an object store. Its
manifest holds the SHA-256 of every other file. It is written last: locally before the folder
gets its name; on an object store, which has no rename, what has no manifest is no checkpoint. This
module knows nothing of what the files hold, but for `state.json`.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any

from cyclegan.errors import CheckpointError
from mrct.storage.atomic import PARTIAL
from mrct.storage.paths import StoragePath

MANIFEST = "manifest.json"
STATE = "state.json"


def folder_of(run_folder: StoragePath, step: int) -> StoragePath:
    """Where the checkpoint of a step lies."""
    return run_folder / "checkpoints" / f"step_{step:08d}"


def results_folder(run_folder: StoragePath, name: str) -> Path:
    """Where results on a run go by default: into it, or to the working folder from a URL."""
    return run_folder.beside() / name


def unfinished(final: StoragePath, attempt: str) -> StoragePath:
    """Where the files of one attempt at a checkpoint gather."""
    return final.with_name(f"{PARTIAL}{attempt}-{final.name}")


def commit(partial: StoragePath, final: StoragePath, hashes: Mapping[str, str]) -> None:
    """Make the files that were gathered a checkpoint, with the manifest last."""
    manifest = json.dumps(dict(sorted(hashes.items())), indent=1).encode()
    # What it replaces is a damaged one of the same step that a resumed run went past.
    partial.publish(final.name, list(hashes), MANIFEST, manifest)


def verify(folder: StoragePath) -> dict[str, Any]:
    """Check every file against the manifest; returns the facts of `state.json`.

    Raises:
        CheckpointError: A file is missing or does not have the bytes that were written.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, expected in manifest.items():
            if (folder / name).sha256() != expected:
                raise CheckpointError(
                    f"{folder.name}/{name} is damaged: its bytes are not those that were "
                    f"written. Delete {folder} to go on from an older checkpoint."
                )
        facts: dict[str, Any] = json.loads((folder / STATE).read_text())
    except (folder.damage, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{folder} is no complete checkpoint ({error}). "
            "Name a run folder or one of its checkpoints/step_* folders."
        ) from error
    return facts


def saved(run_folder: StoragePath) -> list[StoragePath]:
    """All checkpoint folders, oldest first; damaged ones too."""
    folders = (run_folder / "checkpoints").published(MANIFEST)
    return [folder for folder in folders if folder.name.startswith("step_")]


def whole(run_folder: StoragePath) -> Iterator[StoragePath]:
    """The checkpoints that are whole, newest first; a warning for each that is not.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    folders = saved(run_folder)
    damaged = 0
    for folder in reversed(folders):
        try:
            verify(folder)
        except CheckpointError as error:
            print(f"warning: {error} Falling back to another one.", file=sys.stderr)
            damaged += 1
        else:
            yield folder
    if folders and damaged == len(folders):
        raise CheckpointError(
            f"all {len(folders)} checkpoints of {run_folder} are damaged. Going on would start "
            "anew without a word: give the run another --run.name, or delete the folder."
        )


def newest(run_folder: StoragePath) -> StoragePath | None:
    """The newest checkpoint that is whole; None where a run has none yet.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return next(whole(run_folder), None)


def best(run_folder: StoragePath) -> StoragePath | None:
    """The whole checkpoint with the lowest score, or the newest where none has one.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return min(whole(run_folder), key=score_of, default=None)  # the first, newest, of equal ones


def score_of(folder: StoragePath) -> float:
    """The validation score that a checkpoint was saved with; infinity without a readable one."""
    try:
        return float(json.loads((folder / STATE).read_text())["score"])
    except (folder.damage, ValueError, TypeError):
        return inf


def is_healthy(folder: StoragePath) -> bool:
    """Whether a checkpoint is readable and was not saved amid updates that were not finite."""
    try:
        return not json.loads((folder / STATE).read_text())["streak"]
    except (folder.damage, ValueError):
        return False


def way_back(run_folder: StoragePath) -> StoragePath:
    """The checkpoint to go back to when updates stay not finite: the newest healthy one, and where
    none is, the oldest; its weights are finite too, for such updates are skipped.

    Raises:
        CheckpointError: There is none that is whole.
    """
    oldest = None
    for oldest in whole(run_folder):
        if is_healthy(oldest):
            return oldest
    if oldest is None:
        raise CheckpointError(f"{run_folder} has no checkpoint any more to go back to.")
    return oldest


def prune(run_folder: StoragePath, keep_last: int, keep_best: int) -> None:
    """Delete all but the newest ones, the best ones, and the newest healthy one."""
    newest_first = saved(run_folder)[::-1]
    scored = [(score, f) for f in newest_first if (score := score_of(f)) < inf]
    scored.sort(key=itemgetter(0))  # the newest of equal ones comes first
    kept = newest_first[:keep_last] + [f for _, f in scored[:keep_best]]
    kept += islice(filter(is_healthy, newest_first), 1)
    for folder in newest_first:
        if folder not in kept:
            discard(folder)


def sweep(run_folder: StoragePath) -> None:
    """Delete what a kill left unfinished."""
    folder = run_folder / "checkpoints"
    there = saved(run_folder)
    for name in folder.names():
        if name.startswith(PARTIAL) or (name.startswith("step_") and folder / name not in there):
            (folder / name).remove()


def discard(folder: StoragePath) -> None:
    """Delete a checkpoint, also for a kill in between."""
    folder.withdraw(MANIFEST)
