"""The event log of a search: one synced line of JSON for each event. The ranking, the next values
to try, and the remaining work after a kill are derived from it. Ray's own state of the search is a
pickle, written in place, and is never read back.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mrct.errors import UserError
from mrct.storage.atomic import sync_folder
from mrct.storage.json_text import parse_json
from mrct.storage.names import is_plain
from tune.search.trial_score import Objective
from tune.space.space import Values

EVENT_LOG = "trials.jsonl"
_RUN = r"[\w-]+"
_PATHS = {"trial": _RUN, "run": _RUN, "start": rf"{_RUN}/checkpoints/step_\d+"}
State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One validation."""

    step: int
    value: float | None
    """Score; None if it was not finite."""
    time_s: float
    """Seconds of searching since the search began, without the time between restarts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """The state of a trial."""

    name: str
    values: Values
    """Current values; population-based training changes them."""
    origin: str = ""
    """Origin of the values, if not the sampler: `base`, `reference`."""
    run: str = ""
    """Name of its current run folder, below the search's `runs`."""
    start: str = ""
    """Checkpoint of another trial, relative to `runs`, that the current run started from."""
    scores: tuple[Score, ...] = ()
    """Scores of the current run."""
    state: State = "running"
    """State: `running`, `done` (trained to the end), `stopped` (early, by the scheduler) or
    `failed`."""
    reason: str = ""
    """Reason of a failure."""
    exploits: int = 0
    """Number of times it took over another trial's weights."""

    @property
    def step(self) -> int:
        """Return the optimizer steps at its last validation."""
        return self.scores[-1].step if self.scores else 0

    def score(self, objective: Objective) -> float | None:
        """Return the score of its best validation; None if it failed or no score was finite.

        What a guided generator looks up before the first step is that of every trial, so it counts
        only until there is another.
        """
        if self.state == "failed":
            return None
        return objective.best([score.value for score in self.trained_scores or self.scores])

    @property
    def trained_scores(self) -> tuple[Score, ...]:
        """Return the scores after the first step."""
        return tuple(score for score in self.scores if score.step > 0)

    def untrained_score(self, objective: Objective) -> float | None:
        """Return the score before the first step; None if it has none."""
        return objective.best([score.value for score in self.scores if score.step == 0])


def rank_trials(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Return the trials, best first; those without a score follow, failed ones last."""
    return sorted(
        trials, key=lambda trial: (objective.cost(trial.score(objective)), trial.state == "failed")
    )


class EventLog:
    """The trials of a search, on disk and in memory."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """Read the existing events. A last line truncated by a kill is dropped, also from the file
        if this log `writes`."""
        self.path, self.by_name = path, dict[str, Trial]()
        self.failure: OSError | None = None
        raw = path.read_bytes() if path.is_file() else b""
        whole = raw[: raw.rfind(b"\n") + 1]
        if writes and len(whole) < len(raw):
            os.truncate(path, len(whole))
        self.before_s = 0.0
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                event = parse_json(line)
                self.apply(event)
                self.before_s = max(self.before_s, event["time_s"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"Line {number} of {path} is damaged ({error!r}). Restore a copy of the file, "
                    "or delete that line, which loses its event."
                ) from error
        self.opened = time.monotonic()

    @property
    def trials(self) -> list[Trial]:
        """Return the trials in the order in which they began."""
        return list(self.by_name.values())

    @property
    def time_s(self) -> float:
        """Return the seconds of searching so far."""
        return self.before_s + time.monotonic() - self.opened

    def begin(self, name: str, values: Values, origin: str = "") -> None:
        """Record that a trial is about to start."""
        self.write({"event": "begin", "trial": name, "values": dict(values), "origin": origin})

    def score(self, name: str, step: int, value: float | None) -> None:
        """Record a validation of a trial."""
        self.write({"event": "score", "trial": name, "step": step, "value": value})

    def exploit(self, name: str, values: Values, donor: str, start: str) -> None:
        """Record that a trial continues from another trial's checkpoint with other values, in a new
        run folder."""
        run = f"{name}-{self.by_name[name].exploits + 1}"
        self.write(
            {"event": "exploit", "trial": name, "values": dict(values), "run": run}
            | {"start": start, "donor": donor}
        )

    def end(self, name: str, state: State, reason: str = "") -> None:
        """Record the end of a trial."""
        self.write({"event": "end", "trial": name, "state": state, "reason": reason})

    def write(self, event: dict[str, Any]) -> None:
        """Append an event; it survives a power failure once this returns.

        If it cannot be written, `failure` is set and further events are ignored: the search ends,
        and a later one continues from the events written so far.
        """
        if self.failure:
            return
        event["time_s"] = round(self.time_s, 2)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(event, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.failure = error
            if self.path.is_file():  # a partial line would corrupt the next one
                os.truncate(self.path, size)
            return
        if not size:
            sync_folder(self.path.parent)
        self.apply(event)

    def apply(self, event: dict[str, Any]) -> None:
        """Apply an event to the state."""
        name = event["trial"]
        for key, pattern in _PATHS.items():  # these become paths below `runs`
            if key in event and not is_plain(event[key], pattern):
                raise ValueError(f"{event[key]!r} cannot be its {key}")
        match event["event"]:
            case "begin":
                self.by_name[name] = Trial(
                    name=name, values=event["values"], origin=event["origin"], run=name
                )
            case "score":
                trial = self.by_name[name]
                score = Score(step=event["step"], value=event["value"], time_s=event["time_s"])
                # After a restart a run reaches the same step again.
                others = [each for each in trial.scores if each.step != score.step]
                scores = sorted([*others, score], key=lambda each: each.step)
                self.by_name[name] = replace(trial, scores=tuple(scores))
            case "exploit":
                trial = self.by_name[name]
                self.by_name[name] = replace(
                    trial,
                    values=event["values"],
                    run=event["run"],
                    start=event["start"],
                    scores=(),  # the earlier scores belong to other weights and values
                    exploits=trial.exploits + 1,
                )
            case "end":
                self.by_name[name] = replace(
                    self.by_name[name], state=event["state"], reason=event["reason"]
                )
            case other:
                raise ValueError(f"Unknown event {other!r}")
