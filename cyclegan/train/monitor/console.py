"""Progress display of the command that started a run.

It follows the run's `metrics.jsonl`, so it looks the same in a terminal, in a job log and from
another machine.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cyclegan.train.monitor.metrics_log import METRICS, PUT_EVERY_S, read_lines
from mrct.progress import progress
from mrct.storage.paths import StoragePath


@contextmanager
def show_progress(run_folder: StoragePath, *, total_steps: int, first_step: int) -> Iterator[None]:
    """Show a run's progress within the context."""
    ended = threading.Event()
    path = run_folder / METRICS
    look_every_s = 1.0 if run_folder.local else PUT_EVERY_S

    def follow() -> None:
        shown = first_step
        printed: set[tuple[int, str]] = set()
        with progress("train", total_steps, done=first_step) as advance:
            advance(0, "waiting for the first steps")
            while True:
                last_look = ended.wait(look_every_s)
                entries: list[dict[str, Any]] = []
                with suppress(OSError):  # an outage; the next look reads the same lines
                    entries = read_lines(path)
                for line in entries:
                    if "note" in line and (note := (line["step"], line["note"])) not in printed:
                        printed.add(note)
                        print(line["note"], file=sys.stderr, flush=True)
                lines = [line for line in entries if "loss/generators" in line]
                if lines and (step := lines[-1]["step"]) > shown:
                    advance(step - shown, status_line(lines[-1]))
                    shown = step
                if last_look:
                    return

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def status_line(line: dict[str, Any]) -> str:
    """Format the few numbers of a log line that show a run's health."""
    return (
        f"loss {number(line['loss/generators'])}  {line['speed/slices_per_s']:.1f} slices/s  "
        f"data wait {line['speed/data_wait_percent']:.0f} %"
    )


def number(value: float | None) -> str:
    """Format a loss; None stands for a value that is not finite."""
    return "not finite" if value is None else f"{value:.2f}"
