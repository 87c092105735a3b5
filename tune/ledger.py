"""The record of a search: one synced line of JSON for each trial that ended. Ray's own state of the
search is a pickle, written in place, and is never read back.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tune.space import Values

LEDGER = "trials.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """How one trial ended."""

    name: str
    """Its run folder, below the search's `runs`."""
    values: Values
    score: float | None
    """Lowest selection score of its validations: its best checkpoint's. None: none was finite."""
    step: int
    """Optimizer steps at its last validation."""
    state: Literal["done", "stopped", "failed"]
    """Trained to the end, stopped early by the scheduler, or ended by an error."""
    reason: str = ""
    """Of a failure."""


def append(path: Path, trial: Trial) -> None:
    """Add a trial; it survives a power cut once this returns."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(trial)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Trial]:
    """All trials, in the order in which they ended; a last line cut short by a kill is left out."""
    text = path.read_text() if path.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [Trial(**json.loads(line)) for line in lines]


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Best first; those without a score last."""
    return sorted(trials, key=lambda trial: float("inf") if trial.score is None else trial.score)
