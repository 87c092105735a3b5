"""Scores of a run's checkpoints, in a file beside them to which lines are only added.

A score is often known only after its checkpoint was committed, so it is not part of it. A line
names the checkpoint by step and by the SHA-256 of its `manifest.json`, which covers every byte of
it, and is sealed by a SHA-256 of its own.
"""

import hashlib
import json
import sys
from typing import Any

from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath

SCORES_FILE = "scores.jsonl"


def read_scores(run_folder: StoragePath) -> dict[str, float | None]:
    """Read the scores of a run; a damaged line is passed over, with a warning.

    Returns:
        The score by the SHA-256 of the checkpoint's manifest; lower is better, None if it was not
        finite.
    """
    scores: dict[str, float | None] = {}
    for number, line in enumerate(_content(run_folder).splitlines(), start=1):
        try:
            record = parse_json(line)
            if record.pop("seal") != _seal(record):
                raise ValueError
            scores[record["checkpoint"]] = record["score"]
        except (ValueError, KeyError, AttributeError):
            print(
                f"warning: Line {number} of {run_folder / SCORES_FILE} is damaged, so that a "
                "checkpoint lacks its score. The same training command computes it again.",
                file=sys.stderr,
            )
    return scores


def add_score(
    run_folder: StoragePath, *, step: int, manifest_hash: str, score: float | None
) -> None:
    """Add the score of a committed checkpoint; the file is replaced atomically, as an object store
    cannot append."""
    record = {"step": step, "checkpoint": manifest_hash, "score": score}
    line = json.dumps(record | {"seal": _seal(record)})
    (run_folder / SCORES_FILE).put(_content(run_folder) + line.encode() + b"\n")


def _content(run_folder: StoragePath) -> bytes:
    try:
        return (run_folder / SCORES_FILE).read_bytes()
    except FileNotFoundError:
        return b""


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
