"""The quarantine file: refused inputs with reason and remedy, private and outside the store."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why one input is not in the store."""

    number: int
    """Number of the input in the list, from 1."""
    name: str
    """`mri/<pseudonym>`."""
    sha256: str
    """Hash of the file; empty if it could not be read."""
    code: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"Input {self.number} ({self.name}, {self.sha256[:8] or 'unread'}): "
            f"{self.code}: {self.reason} {self.remedy}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantine:
    """A file of refusals as JSON lines. It contains paths, so only its owner may read it."""

    path: Path

    def add(self, refusal: Refusal, source: Path) -> None:
        """Record a refused input with the path of its file."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "input": refusal.number,
            "name": refusal.name,
            "path": os.fsdecode(source),
            "sha256": refusal.sha256,
            "code": refusal.code,
            "reason": refusal.reason,
            "remedy": refusal.remedy,
        }
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with os.fdopen(os.open(self.path, flags, 0o600), "a") as file:
            file.write(json.dumps(line) + "\n")
