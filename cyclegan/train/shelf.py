"""The checkpoints of a run as folders: which are there and whole, which is best, which may go.

A checkpoint is `checkpoints/step_00001000` in the run's folder, locally or on an object store. Its
manifest holds the SHA-256 of every other file. Locally it is written before the folder gets its
name; on an object store, which has no rename, it is put when all the rest is there, and what has no
manifest is no checkpoint. This module knows nothing of what the files hold, but for `state.json`.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any

from cyclegan.errors import CheckpointError
from data_prep.atomic import PARTIAL, sync_folder
from data_prep.place import Place, names_in, put, remove, sizes_in
from data_prep.transfer import copy_files, fetch

MANIFEST = "manifest.json"
STATE = "state.json"


def folder_of(run_folder: Place, step: int) -> Place:
    """Where the checkpoint of a step lies."""
    return run_folder / "checkpoints" / f"step_{step:08d}"


def results_folder(run_folder: Place, name: str) -> Path:
    """Where results on a run go by default: into it, or to the working folder from a URL."""
    if isinstance(run_folder, Path):
        return run_folder / name
    return Path.cwd() / run_folder.name / name


def unfinished(final: Place, attempt: str) -> Place:
    """Where the files of one attempt at a checkpoint gather."""
    return final.with_name(f"{PARTIAL}{attempt}-{final.name}")


def commit(partial: Place, final: Place, hashes: Mapping[str, str]) -> None:
    """Make the files that were gathered a checkpoint, with the manifest last."""
    manifest = json.dumps(dict(sorted(hashes.items())), indent=1).encode()
    if final.exists():  # a damaged one of the same step that a resumed run went past
        discard(final)
    if isinstance(partial, Path) and isinstance(final, Path):
        put(partial / MANIFEST, manifest)
        partial.rename(final)
        sync_folder(final.parent)
        return
    copy_files(partial, final, list(hashes))
    put(final / MANIFEST, manifest)
    remove(partial)


def verify(folder: Place) -> dict[str, Any]:
    """Check every file against the manifest; returns the facts of `state.json`.

    Raises:
        CheckpointError: A file is missing or does not have the bytes that were written.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, expected in manifest.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise CheckpointError(
                        f"{folder.name}/{name} is damaged: its bytes are not those that were "
                        f"written. Delete {folder} to go on from an older checkpoint."
                    )
        facts: dict[str, Any] = json.loads((folder / STATE).read_text())
    except (damage_of(folder), ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{folder} is no complete checkpoint ({error}). "
            "Name a run folder or one of its checkpoints/step_* folders."
        ) from error
    return facts


def damage_of(folder: Place) -> type[OSError]:
    """What reading a damaged checkpoint raises. On an object store any other error is an outage,
    and no reason to fall back."""
    return OSError if isinstance(folder, Path) else FileNotFoundError


@contextmanager
def at_hand(folder: Place) -> Iterator[Path]:
    """A checkpoint as a local folder, for as long as the block runs."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as temporary:
        here = Path(temporary) / folder.name
        fetch(folder, here)
        yield here


def saved(run_folder: Place) -> list[Place]:
    """All checkpoint folders, oldest first; damaged ones too."""
    folder = run_folder / "checkpoints"
    if isinstance(folder, Path):
        return sorted(folder.glob("step_*"))
    # One listing of all files: an object store knows no folders.
    names = {name.removesuffix(f"/{MANIFEST}") for name in sizes_in(folder) if MANIFEST in name}
    return [folder / name for name in sorted(names) if name.startswith("step_")]


def whole(run_folder: Place) -> Iterator[Place]:
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


def newest(run_folder: Place) -> Place | None:
    """The newest checkpoint that is whole; None where a run has none yet.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return next(whole(run_folder), None)


def best(run_folder: Place) -> Place | None:
    """The whole checkpoint with the lowest score, or the newest where none has one.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return min(whole(run_folder), key=score_of, default=None)  # the first, newest, of equal ones


def score_of(folder: Place) -> float:
    """The validation score that a checkpoint was saved with; infinity without a readable one."""
    try:
        return float(json.loads((folder / STATE).read_text())["score"])
    except (OSError, ValueError, TypeError):
        return inf


def is_healthy(folder: Place) -> bool:
    """Whether a checkpoint is readable and was not saved amid updates that were not finite."""
    try:
        return not json.loads((folder / STATE).read_text())["streak"]
    except (damage_of(folder), ValueError):
        return False


def way_back(run_folder: Place) -> Place:
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


def prune(run_folder: Place, keep_last: int, keep_best: int) -> None:
    """Delete all but the newest ones, the best ones, and the newest healthy one."""
    newest_first = saved(run_folder)[::-1]
    scored = [(score, f) for f in newest_first if (score := score_of(f)) < inf]
    scored.sort(key=itemgetter(0))  # the newest of equal ones comes first
    kept = newest_first[:keep_last] + [f for _, f in scored[:keep_best]]
    kept += islice(filter(is_healthy, newest_first), 1)
    for folder in newest_first:
        if folder not in kept:
            discard(folder)


def sweep(run_folder: Place) -> None:
    """Delete what a kill left unfinished."""
    folder = run_folder / "checkpoints"
    there = saved(run_folder)
    for name in names_in(folder):
        if name.startswith(PARTIAL) or (name.startswith("step_") and folder / name not in there):
            remove(folder / name)


def discard(folder: Place) -> None:
    """Delete a checkpoint, also for a kill in between: first its name goes, then its files."""
    if isinstance(folder, Path):
        doomed = folder.with_name(f"{PARTIAL}discarded")
        remove(doomed)  # what a kill had left of an earlier one
        folder.rename(doomed)
        remove(doomed)
    else:
        remove(folder / MANIFEST)
        remove(folder)
