"""Folders of checkpoints: committing, verifying, choosing and deleting them.

A checkpoint is `checkpoints/step_00001000` in the run's folder, locally or on an object store. Its
`manifest.json` lists the SHA-256 of every other file and is written last: locally before the folder
is renamed into place; on an object store, which has no rename, a folder without it is no
checkpoint.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any

from cyclegan.config.run_storage import DEFAULT
from cyclegan.errors import CheckpointError
from cyclegan.train.checkpoint.scores import add_score, read_scores
from mrct.storage.atomic import PARTIAL
from mrct.storage.json_text import parse_json
from mrct.storage.names import safe_join
from mrct.storage.paths import StoragePath

FILE_HASHES = "manifest.json"
STATE = "state.json"
_FOLDER = r"step_\d{8,}"
_FILE = r"[a-z0-9_]+\.(?:safetensors|json)"
"""Regular expressions of all names of checkpoints and of their files."""


def folder_of(run_folder: StoragePath, step: int) -> StoragePath:
    """Return the path of the checkpoint of a step."""
    return run_folder / "checkpoints" / f"step_{step:08d}"


def results_folder(run_folder: StoragePath, name: str) -> Path:
    """Return the default folder for results of a run: inside it, or, if the run is at a URL, in a
    folder of its name below the usual one of runs, which git ignores."""
    return (run_folder.local or Path.cwd() / DEFAULT / run_folder.name) / name


def partial_folder(final: StoragePath, attempt: str) -> StoragePath:
    """Return the path where one attempt to write a checkpoint collects its files."""
    return final.with_name(f"{PARTIAL}{attempt}-{final.name}")


def commit_checkpoint(partial: StoragePath, final: StoragePath, hashes: Mapping[str, str]) -> None:
    """Publish the collected files as a checkpoint; `manifest.json` is written last."""
    manifest = json.dumps(dict(sorted(hashes.items())), indent=1).encode()
    # This may replace a damaged checkpoint of the same step that a resumed run skipped.
    partial.publish(final.name, list(hashes), FILE_HASHES, manifest)


def verify_checkpoint(folder: StoragePath) -> dict[str, Any]:
    """Check the SHA-256 of every file of a checkpoint.

    Returns:
        The contents of `state.json`: step, validated, skipped, streak, rollbacks, warmup_steps,
        scaler and settings.

    Raises:
        CheckpointError: A file is missing, or its bytes differ from those that were written.
    """
    try:
        manifest = parse_json((folder / FILE_HASHES).read_text())
        for name, expected in manifest.items():
            if safe_join(folder, name, _FILE, _foreign(name, folder)).sha256() != expected:
                raise CheckpointError(
                    f"Checkpoint file {folder.name}/{name} is damaged: its bytes are not those "
                    f"that were written. Delete {folder} to resume from an older checkpoint."
                )
        facts: dict[str, Any] = parse_json((folder / STATE).read_text())
    except (folder.damage, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"Folder {folder} is no complete checkpoint ({error}). "
            "Give a run folder or one of its checkpoints/step_* folders."
        ) from error
    return facts


def saved_checkpoints(run_folder: StoragePath) -> list[StoragePath]:
    """Return all checkpoint folders, oldest first, including damaged ones."""
    folders = (run_folder / "checkpoints").published(FILE_HASHES)
    return [folder for folder in folders if re.fullmatch(_FOLDER, folder.name)]


def complete_checkpoints(run_folder: StoragePath) -> Iterator[StoragePath]:
    """Yield the intact checkpoints, newest first, and print a warning for each damaged one.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    folders = saved_checkpoints(run_folder)
    intact = 0
    for folder in filter(_is_intact, reversed(folders)):
        intact += 1
        yield folder
    if folders and not intact:
        raise CheckpointError(
            f"All {len(folders)} checkpoints of {run_folder} are damaged. Resuming would silently "
            "restart the training: use another --run.name, or delete the folder."
        )


def _is_intact(folder: StoragePath, otherwise: str = "Falling back to another checkpoint.") -> bool:
    """Verify a checkpoint; print a warning if it is damaged."""
    try:
        verify_checkpoint(folder)
    except CheckpointError as error:
        print(f"warning: {error} {otherwise}", file=sys.stderr)
        return False
    return True


def newest_checkpoint(run_folder: StoragePath) -> StoragePath | None:
    """Return the newest intact checkpoint, or None if the run has none yet.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return next(complete_checkpoints(run_folder), None)


def best_checkpoint(run_folder: StoragePath, *, trained: bool = False) -> StoragePath | None:
    """Return the intact checkpoint with the lowest score, or the newest if none has a score.

    Args:
        run_folder: Folder of the run.
        trained: Whether that of step 0 counts only if there is no other.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    scores, found = read_scores(run_folder), list(complete_checkpoints(run_folder))
    if trained:
        first = folder_of(run_folder, 0).name
        found = [folder for folder in found if folder.name != first] or found
    # On ties the first: the newest.
    return min(found, key=lambda folder: _score(folder, scores), default=None)


def score_of(folder: StoragePath) -> float:
    """Return the validation score of a checkpoint of a run, or infinity if it has none."""
    return _score(folder, read_scores(folder.parent.parent))


def record_score(folder: StoragePath, score: float | None) -> None:
    """Record the validation score of a committed checkpoint; nothing if it was deleted."""
    if manifest_hash := _manifest_hash(folder):
        step = int(folder.name.removeprefix("step_"))
        run_folder = folder.parent.parent
        add_score(run_folder, step=step, manifest_hash=manifest_hash, score=score)


def unscored_checkpoints(run_folder: StoragePath) -> list[StoragePath]:
    """Return the intact checkpoints whose validation began and has no result, oldest first.

    This is what a kill leaves, or a damaged line of `scores.jsonl`. A warning is printed for each
    damaged one, which cannot be scored any more.
    """
    scores = read_scores(run_folder)
    waiting = [each for each in saved_checkpoints(run_folder) if _awaits_score(each, scores)]
    return [each for each in waiting if _is_intact(each, "It cannot be scored any more.")]


def _score(folder: StoragePath, scores: Mapping[str, float | None]) -> float:
    score = scores.get(_manifest_hash(folder))
    return inf if score is None else score


def _awaits_score(folder: StoragePath, scores: Mapping[str, float | None]) -> bool:
    facts = _facts(folder)
    # The score itself was among the facts until there was a file of scores.
    validated = facts.get("validated", facts.get("score") is not None)
    manifest_hash = _manifest_hash(folder)
    return bool(validated and manifest_hash) and manifest_hash not in scores


def _manifest_hash(folder: StoragePath) -> str:
    """Return the SHA-256 of the list of a checkpoint's hashes; empty if it is missing."""
    try:
        return (folder / FILE_HASHES).sha256()
    except folder.damage:
        return ""


def _facts(folder: StoragePath) -> dict[str, Any]:
    """Return the contents of `state.json`, not verified; empty if it cannot be read."""
    try:
        facts: dict[str, Any] = parse_json((folder / STATE).read_text())
    except (folder.damage, ValueError):
        return {}
    return facts


def is_healthy(folder: StoragePath) -> bool:
    """Return whether a checkpoint is readable and was not saved during non-finite updates."""
    return not _facts(folder).get("streak", True)


def rollback_target(run_folder: StoragePath) -> StoragePath:
    """Return the checkpoint to roll back to when updates stay non-finite.

    This is the newest healthy one or, if there is none, the oldest. Its weights are finite too,
    because non-finite updates are skipped.

    Raises:
        CheckpointError: No checkpoint is intact.
    """
    oldest = None
    for oldest in complete_checkpoints(run_folder):
        if is_healthy(oldest):
            return oldest
    if oldest is None:
        raise CheckpointError(
            f"Run {run_folder} has no checkpoint left to roll back to, and its updates stay "
            "non-finite. Start a new run: --run.name NAME."
        )
    return oldest


def prune_checkpoints(
    run_folder: StoragePath, keep_last: int, keep_best: int, *, has_ended: bool = False
) -> None:
    """Delete all checkpoints except the newest, the best, those that wait for a score, and the
    newest healthy one.

    Args:
        run_folder: Folder of the run.
        keep_last: Number of newest checkpoints to keep.
        keep_best: Number of checkpoints with the lowest scores to keep.
        has_ended: Whether the run is over, so that no score follows any more.
    """
    newest_first = saved_checkpoints(run_folder)[::-1]
    scores = read_scores(run_folder)
    scored = [(score, f) for f in newest_first if (score := _score(f, scores)) < inf]
    scored.sort(key=itemgetter(0))  # on ties the newest comes first
    kept = newest_first[:keep_last] + [f for _, f in scored[:keep_best]]
    if not has_ended:
        kept += [folder for folder in newest_first if _awaits_score(folder, scores)]
    kept += islice(filter(is_healthy, newest_first), 1)
    for folder in newest_first:
        if folder not in kept:
            discard_checkpoint(folder)


def remove_partial_checkpoints(run_folder: StoragePath) -> None:
    """Delete unfinished checkpoints, left by a kill."""
    folder = run_folder / "checkpoints"
    there = saved_checkpoints(run_folder)
    for name in folder.names():
        if re.fullmatch(rf"{re.escape(PARTIAL)}.*{_FOLDER}", name) or (
            re.fullmatch(_FOLDER, name) and folder / name not in there
        ):
            (folder / name).remove()


def discard_checkpoint(folder: StoragePath) -> None:
    """Delete a checkpoint; a kill in between leaves an unfinished one, not a damaged one."""
    folder.withdraw(FILE_HASHES)


def _foreign(name: str, folder: StoragePath) -> CheckpointError:
    return CheckpointError(
        f"{folder.name}/{FILE_HASHES} lists {name!r}, which is no file of a checkpoint and could "
        f"lead to other files. It was not read. Delete {folder} to resume from an older checkpoint."
    )
