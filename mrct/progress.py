"""Shows the progress of long work: a bar on a terminal, an occasional line in a job log."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

RECENT_S = 60.0
QUIET_VARIABLE = "MRCT_QUIET"
"""Environment variable that hides progress."""


class Advance(Protocol):
    """Function that reports `count` more items as done, with a note to show beside the bar."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


def duration(seconds: float) -> str:
    """Format a duration with its two largest units: 45 s, 3 min 20 s, 2 d 5 h."""
    left = round(seconds)
    words: list[tuple[int, str]] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or words or unit == "s":
            words.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in words[:2] if count or len(words) == 1)


def say_state(text: str) -> None:
    """Say on standard error what the command does before its work has a progress to show."""
    if not os.environ.get(QUIET_VARIABLE):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, done: int = 0, line_every_s: float = 10) -> Iterator[Advance]:
    """Show the progress of work on `total` items, `done` of which are already done."""
    if os.environ.get(QUIET_VARIABLE):
        yield lambda count=1, note="": None
        return
    if sys.stderr.isatty():
        # Only the bar on a terminal needs rich, which is slow to import.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task(label, total=total, completed=done, note="")

            def advance_bar(count: int = 1, note: str = "") -> None:
                bar.update(task, advance=count, note=note)

            yield advance_bar
        return

    printed = time.monotonic()
    position = done
    marks = deque([(printed, done)])

    def advance_line(count: int = 1, note: str = "") -> None:
        nonlocal position, printed
        position += count
        now = time.monotonic()
        # The time left follows from the last minute, so that initial compilation does not count.
        while len(marks) > 1 and now - marks[1][0] >= RECENT_S:
            marks.popleft()
        since, before = marks[0]
        if now - marks[-1][0] >= 1:
            marks.append((now, position))
        if position == total or now - printed >= line_every_s:
            printed = now
            left = ""
            if position > before:  # otherwise there is no rate yet
                left_s = (now - since) / (position - before) * (total - position)
                left = f", about {duration(left_s)} left"
            text = f"{label}: {position} of {total}{left}  {note}"
            print(text.rstrip(), file=sys.stderr, flush=True)

    yield advance_line
