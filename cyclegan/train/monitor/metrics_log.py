"""Append-only files of a run: `metrics.jsonl` and TensorBoard's event files.

A file on an object store cannot be appended to. There, lines are kept in a local folder and the
whole file is uploaded periodically; TensorBoard's files are uploaded as segments, each once, when
it is closed.
"""

import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from mrct.storage.damaged import set_aside
from mrct.storage.json_text import parse_json
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
PUT_EVERY_S = 10.0
"""Seconds between two uploads of the lines to an object store."""


class MetricsLog:
    """`metrics.jsonl` and TensorBoard's files of a run, written by one worker."""

    def __init__(self, run_folder: StoragePath) -> None:
        self.run_folder = run_folder
        self.local = run_folder.local is not None
        self.folder = run_folder.local or LocalPath(tempfile.mkdtemp(prefix="cyclegan-"))
        self.path = self.folder / METRICS
        self.put_at = -math.inf
        self.writer: SummaryWriter | None = None
        if not self.local:
            self.path.write_bytes(_read(run_folder / METRICS))

    def resume_from(self, step: int) -> list[dict[str, Any]]:
        """Drop the lines of later steps, which the run will repeat, and damaged ones.

        A damaged file is kept under another name, since its lines may still be mended by hand.

        Returns:
            The remaining lines.
        """
        content = _read(self.path)
        _, damaged = _parse(content)
        if damaged:
            set_aside(
                self.run_folder / METRICS,
                content,
                f"{damaged} of its lines cannot be read, and are missing from curves and exports",
            )
        kept = self.keep(lambda line: line["step"] <= step)
        self.close()
        self.writer = SummaryWriter(str(self.folder / TENSORBOARD), purge_step=step + 1)
        return kept

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Drop the lines of `metrics.jsonl` that are not wanted; return the remaining ones."""
        kept = [line for line in read_lines(self.path) if wanted(line)]
        if self.path.exists():
            self.path.put("".join(json.dumps(line) + "\n" for line in kept).encode())
        return kept

    @property
    def board(self) -> SummaryWriter:
        """TensorBoard's writer; a closed writer opens its next segment on demand."""
        assert self.writer is not None, "go_on_from() opens it"
        return self.writer

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with self.path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        self.board.flush()
        if not self.local and time.monotonic() - self.put_at > PUT_EVERY_S:
            self.put_lines()

    def put_lines(self) -> None:
        """Upload the lines to the object store.

        An outage does not stop the run: the next upload includes the same lines.
        """
        self.put_at = time.monotonic()
        try:
            (self.run_folder / METRICS).put(self.path.read_bytes())
        except OSError as error:
            reason = type(error).__name__
            print(f"warning: {METRICS} was not uploaded ({reason}).", file=sys.stderr)

    def flush(self) -> None:
        """Upload everything written so far; a local disk has it already."""
        if self.local:
            return
        self.put_lines()
        self.board.close()
        for segment in (self.folder / TENSORBOARD).iterdir():
            target = self.run_folder / TENSORBOARD / segment.name
            try:
                target.put(segment.read_bytes())
            except OSError as error:  # the file stays, and is uploaded with the next ones
                print(
                    f"warning: {segment.name} was not uploaded ({type(error).__name__}).",
                    file=sys.stderr,
                )
            else:
                segment.unlink()

    def close(self) -> None:
        """Close TensorBoard's file, and upload everything."""
        if self.writer is not None:
            self.writer.close()
            self.flush()

    def delete_local_copy(self) -> None:
        """Delete the local folder of a run on an object store; after `close`."""
        if not self.local:
            shutil.rmtree(self.folder, ignore_errors=True)


def read_lines(path: StoragePath) -> list[dict[str, Any]]:
    """Read the lines of a `metrics.jsonl`; damaged ones, which are no part of the run's state, and
    an incomplete last one, left by a kill, are left out."""
    return _parse(_read(path))[0]


def count_damaged_lines(path: StoragePath) -> int:
    """Return how many lines of a `metrics.jsonl` cannot be read, without an incomplete last one."""
    return _parse(_read(path))[1]


def _read(path: StoragePath) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(content: bytes) -> tuple[list[dict[str, Any]], int]:
    lines, damaged = [], 0
    for text in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]:
        try:
            line = parse_json(text)
            float(line["step"])
        except (ValueError, KeyError, TypeError):
            damaged += 1
        else:
            lines.append(line)
    return lines, damaged
