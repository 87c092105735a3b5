"""What a run tells while it runs: `metrics.jsonl` and TensorBoard files, with the same numbers.

Worker 0 alone writes. The command that started the run shows progress by following the file, so
it looks the same in a terminal, in a job log and from another machine.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from data_prep.atomic import write_atomic
from data_prep.progress import progress

METRICS = "metrics.jsonl"


class Telemetry:
    """Sums the loss terms on the device and writes their means every so many steps."""

    def __init__(
        self,
        run_folder: Path,
        *,
        leads: bool,
        first_step: int,
        global_batch: int,
        average: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        """`average` takes the mean over all workers: curves do not depend on their number."""
        self.global_batch, self.average = global_batch, average
        self.path = run_folder / METRICS
        self.leads = leads
        self.noted: set[str] = set()
        self.writer: SummaryWriter | None = None
        self.go_on_from(first_step)

    def go_on_from(self, step: int) -> None:
        """Forget what was told of later steps: the run will come to them again."""
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.num_steps = 0
        self.wait_s = 0.0
        self.started = self.interval_started = time.monotonic()
        if self.leads:
            self.close()
            kept = forget_from(self.path, step)
            # Time goes on over restarts, but for the time between.
            self.started -= max((line.get("time_s", 0.0) for line in kept), default=0.0)
            folder = str(self.path.parent / "tensorboard")
            self.writer = SummaryWriter(folder, purge_step=step + 1)

    def add(self, terms: dict[str, Tensor], wait_s: float) -> None:
        """Take a step's terms, which stay on the device, and how long it waited for its batch."""
        for name, term in terms.items():
            self.sums[name] = self.sums[name] + term if name in self.sums else term
            self.counts[name] = self.counts.get(name, 0) + 1
        self.num_steps += 1
        self.wait_s += wait_s

    def means(self) -> dict[str, float]:
        """Means since the last call, and the speed; one sync with the device."""
        names = list(self.sums)
        # Not every step has every term.
        own = torch.stack([self.sums[name] / self.counts[name] for name in names])
        values = self.average(own).tolist()
        elapsed_s = time.monotonic() - self.interval_started
        means = dict(zip(names, values, strict=True)) | {
            "speed/pairs_per_s": self.num_steps * self.global_batch / elapsed_s,
            "speed/step_ms": 1000 * elapsed_s / self.num_steps,
            "speed/data_wait_percent": 100 * self.wait_s / elapsed_s,
        }
        self.sums, self.counts, self.num_steps, self.wait_s = {}, {}, 0, 0.0
        self.interval_started = time.monotonic()
        return means

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line of `metrics.jsonl`, and a TensorBoard scalar each."""
        if self.writer is None:
            return
        # JSON knows no NaN; TensorBoard does.
        finite = {name: value if isfinite(value) else None for name, value in metrics.items()}
        self.append({"step": step, "time_s": round(time.monotonic() - self.started, 3)} | finite)
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def note(self, step: int, text: str) -> None:
        """A line for people, which the command that started the run prints; each once."""
        if self.writer is not None and text not in self.noted:
            self.noted.add(text)
            self.append({"step": step, "note": text})

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with self.path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def picture(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """An image [rows, columns, 3] for TensorBoard."""
        if self.writer is not None:
            self.writer.add_image(name, pixels, step, dataformats="HWC")
            self.writer.flush()

    def pause(self, seconds: float) -> None:
        """Leave time out of the speed: validating and saving are not steps."""
        self.interval_started += seconds

    def close(self) -> None:
        """End the TensorBoard file."""
        if self.writer is not None:
            self.writer.close()


def forget_from(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines after a step: the run goes on from there and will write them again.

    Returns the lines that are left.
    """
    kept = [line for line in read_lines(path) if line["step"] <= step]
    if path.exists():
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
    return kept


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line that a kill cut short is left out."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def following(run_folder: Path, *, total_steps: int, first_step: int) -> Iterator[None]:
    """Show a run's progress from its `metrics.jsonl` while the body of the `with` waits for it."""
    ended = threading.Event()
    path = run_folder / METRICS

    def follow() -> None:
        shown = first_step
        printed: set[tuple[int, str]] = set()
        with progress("train", total_steps, done=first_step) as advance:
            while True:
                last_look = ended.wait(1.0)
                told = read_lines(path)
                for line in told:
                    if "note" in line and (note := (line["step"], line["note"])) not in printed:
                        printed.add(note)
                        print(line["note"], file=sys.stderr, flush=True)
                lines = [line for line in told if "loss/translators" in line]
                if lines and (step := lines[-1]["step"]) > shown:
                    advance(step - shown, describe(lines[-1]))
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


def describe(line: dict[str, Any]) -> str:
    """The few numbers that tell whether a run is well."""
    return (
        f"loss {number(line['loss/translators'])}  {line['speed/pairs_per_s']:.1f} pairs/s  "
        f"data wait {line['speed/data_wait_percent']:.0f} %"
    )


def number(value: float | None) -> str:
    """A loss for people; None is what is not finite."""
    return "not finite" if value is None else f"{value:.2f}"
