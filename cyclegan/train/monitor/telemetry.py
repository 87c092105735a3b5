"""Telemetry of a run: loss terms, speed and memory.

`metrics.jsonl` and TensorBoard get the same names and numbers; in TensorBoard, which sorts groups
by name, the first ones have a digit before it. Only worker 0 writes.
"""

import time
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from cyclegan.train.monitor.metrics_log import MetricsLog
from cyclegan.train.monitor.timers import StepTimer, peak_memory
from cyclegan.train.monitor.trackers import Tracker
from mrct.storage.paths import StoragePath

STEP_PARTS = ("data_wait", "generators", "discriminators")
SESSION_TAGS = ("val/selection", "val/mae_hu", "val/bone_dice", "val/ssim")
"""Scores that TensorBoard shows beside a run's settings, if the run has them."""
FIRST_GROUPS = ("loss", "val", "speed")
"""Groups that TensorBoard shows first, in this order."""


def board_tag(name: str) -> str:
    """Return the name of a metric or an image in TensorBoard.

    Examples:
        >>> board_tag("val/mae_hu"), board_tag("guard/skipped")
        ('2_val/mae_hu', 'guard/skipped')
    """
    group = name.partition("/")[0]
    return f"{FIRST_GROUPS.index(group) + 1}_{name}" if group in FIRST_GROUPS else name


class Telemetry:
    """Telemetry of one worker: sums loss terms on the device, and logs their means periodically."""

    def __init__(
        self,
        run_folder: StoragePath,
        *,
        is_rank_zero: bool,
        first_step: int,
        global_batch: int,
        device: torch.device | None = None,
        average: Callable[[Tensor], Tensor] = lambda values: values,
        highest: Callable[[Tensor], list[float]] = Tensor.tolist,
        tracker: Tracker | None = None,
    ) -> None:
        """Open the files at a step.

        Args:
            run_folder: Folder of the run.
            is_rank_zero: Whether this is worker 0, which writes the files.
            first_step: Step that the run continues from; lines of later steps are dropped.
            global_batch: Slice pairs per optimizer step, over all workers.
            device: Device of the loss terms.
            average: Takes the mean over all workers, so that curves do not depend on their number.
            highest: Takes the maximum over all workers.
            tracker: Gets the same numbers, if this is worker 0.
        """
        self.tracker = tracker
        self.global_batch, self.average, self.highest = global_batch, average, highest
        self.device = device or torch.device("cpu")
        self.log = MetricsLog(run_folder) if is_rank_zero else None
        self.noted: set[str] = set()
        self.timer = StepTimer(self.device, STEP_PARTS)
        self.resume_from(first_step)

    def resume_from(self, step: int) -> None:
        """Drop everything logged of later steps, which the run will repeat."""
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.num_steps = 0
        self.timer.take()
        self.timer.start()
        self.started = self.interval_started = time.monotonic()
        if self.log:
            kept = self.log.resume_from(step)
            # The run's time continues over restarts, without the time between them.
            self.started -= max((line.get("time_s", 0.0) for line in kept), default=0.0)

    def drop_scores(self, step: int) -> None:
        """Drop the scores logged of a step, which will be computed again."""
        if self.log:
            self.log.keep(
                lambda line: (
                    line["step"] != step or not any(name.startswith("val/") for name in line)
                )
            )

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of a step, which stay on the device."""
        known = [name for name in terms if name in self.sums]
        self.sums |= {name: term for name, term in terms.items() if name not in self.sums}
        if known:  # all in one operation
            sums = torch._foreach_add([self.sums[n] for n in known], [terms[n] for n in known])
            self.sums |= zip(known, sums, strict=True)
        for name in terms:
            self.counts[name] = self.counts.get(name, 0) + 1
        self.num_steps += 1

    def means(self) -> dict[str, float]:
        """Return the means since the last call, with speed and memory.

        This synchronises with the device and the workers. The times of a step's parts are means
        over the workers.
        """
        names = list(self.sums)
        # Not every step has every term.
        own = torch.stack([self.sums[name] / self.counts[name] for name in names])
        values = self.average(own).tolist()
        elapsed_s = time.monotonic() - self.interval_started
        parts_ms = self.timer.take()
        times = torch.tensor([ms / self.num_steps for ms in parts_ms.values()], device=self.device)
        pairs_per_s = self.num_steps * self.global_batch / elapsed_s
        means = dict(zip(names, values, strict=True)) | {
            "speed/pairs_per_s": pairs_per_s,
            "speed/slices_per_s": 2 * pairs_per_s,
            "speed/step_ms": 1000 * elapsed_s / self.num_steps,
            **{
                f"speed/{part}_ms": ms
                for part, ms in zip(parts_ms, self.average(times).tolist(), strict=True)
            },
        }
        means["speed/data_wait_percent"] = (
            100 * means["speed/data_wait_ms"] / means["speed/step_ms"]
        )
        memory = peak_memory(self.device)
        peaks = self.highest(torch.tensor(list(memory.values()), device=self.device))
        self.sums, self.counts, self.num_steps = {}, {}, 0
        self.interval_started = time.monotonic()
        self.timer.start()
        return means | dict(zip(memory, peaks, strict=True))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line of `metrics.jsonl`, and one TensorBoard scalar per metric."""
        if self.log is None:
            return
        for name, value in metrics.items():
            self.log.board.add_scalar(board_tag(name), value, step)
        # JSON has no NaN; TensorBoard does.
        finite = {name: value if isfinite(value) else None for name, value in metrics.items()}
        time_s = round(time.monotonic() - self.started, 3)
        self.log.append({"step": step, "time_s": time_s} | finite)
        if self.tracker:
            self.tracker.log(
                step, {name: value for name, value in finite.items() if value is not None}
            )

    def note(self, step: int, text: str) -> None:
        """Log a message, which the command that started the run prints; each message once."""
        if self.log and text not in self.noted:
            self.noted.add(text)
            self.log.append({"step": step, "note": text})

    def write_images(self, step: int, images: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write images [rows, columns, 3] to TensorBoard, by name."""
        if self.log:
            for name, image in images.items():
                self.log.board.add_image(board_tag(name), image, step, dataformats="HWC")
            self.log.board.flush()

    def settings(
        self, values: Mapping[str, Any], compared: Mapping[str, Any], *, done: bool
    ) -> None:
        """Write the run's settings to TensorBoard: all `values` as text, and those that are
        `compared` into its table of runs, which adds the last scores.

        To be called at the start of a run and, with `done`, at its end.
        """
        if self.log is None:
            return
        columns = {
            name: value if isinstance(value, bool | str | int | float) else str(value)
            for name, value in compared.items()
        }
        scores = dict.fromkeys(map(board_tag, SESSION_TAGS), 0.0)
        experiment, begun, ended = hparams(columns, scores)
        writer = self.log.board._get_file_writer()
        for summary in (ended,) if done else (experiment, begun):
            writer.add_summary(summary)
        if not done:
            rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
            self.log.board.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)
        self.log.board.flush()

    def pause(self, seconds: float) -> None:
        """Exclude time from the speed: validating and saving are not steps."""
        self.interval_started += seconds
        self.timer.start()

    def flush(self) -> None:
        """Upload everything logged so far to the run folder."""
        if self.log:
            self.log.flush()

    def close(self) -> None:
        """Close the files, and then end the tracker's run, whose service may not answer."""
        if self.log:
            self.log.close()
            self.log.delete_local_copy()
        if self.tracker:
            self.tracker.close()
