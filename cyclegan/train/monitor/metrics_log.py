"""The files of a run that grow: `metrics.jsonl` and TensorBoard's.

A file on an object store cannot grow. There, lines are kept in a local folder and put whole, now
and then; TensorBoard's files are put as segments, each once, when it is closed.
"""

import json
import shutil
import sys
import tempfile
import time
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
PUT_EVERY_S = 10.0
"""On an object store, lines become visible after so long."""


class Journal:
    """Both files, written by one worker."""

    def __init__(self, run_folder: StoragePath) -> None:
        self.run_folder = run_folder
        self.local = run_folder.local is not None
        self.folder = run_folder.local or LocalPath(tempfile.mkdtemp(prefix="cyclegan-"))
        self.path = self.folder / METRICS
        self.put_at = 0.0
        self.writer: SummaryWriter | None = None
        if not self.local:
            old = read_lines(run_folder / METRICS)
            self.path.write_text("".join(json.dumps(line) + "\n" for line in old))

    def go_on_from(self, step: int) -> list[dict[str, Any]]:
        """Drop what was told of later steps: the run will come to them again.

        Returns the lines that are left.
        """
        kept = [line for line in read_lines(self.path) if line["step"] <= step]
        if self.path.exists():
            self.path.put("".join(json.dumps(line) + "\n" for line in kept).encode())
        self.close()
        self.writer = SummaryWriter(str(self.folder / TENSORBOARD), purge_step=step + 1)
        return kept

    @property
    def board(self) -> SummaryWriter:
        """TensorBoard's writer; a closed one opens its next segment by itself."""
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
        """Show the lines on the object store. An outage is no reason to stop: the next put has
        them too."""
        self.put_at = time.monotonic()
        try:
            (self.run_folder / METRICS).put(self.path.read_bytes())
        except OSError as error:
            print(f"warning: {METRICS} was not put ({type(error).__name__}).", file=sys.stderr)

    def settle(self) -> None:
        """Put all that is there; on a local disk it is there already."""
        if self.local:
            return
        self.put_lines()
        self.board.close()
        for segment in (self.folder / TENSORBOARD).iterdir():
            target = self.run_folder / TENSORBOARD / segment.name
            try:
                target.put(segment.read_bytes())
            except OSError as error:  # it stays, and comes with the next ones
                print(f"warning: {segment.name} was not put ({type(error).__name__}).")
            else:
                segment.unlink()

    def close(self) -> None:
        """End TensorBoard's file, and put everything."""
        if self.writer is not None:
            self.writer.close()
            self.settle()

    def forget(self) -> None:
        """Delete the local folder of a run that lies elsewhere; after `close`."""
        if not self.local:
            shutil.rmtree(self.folder, ignore_errors=True)


def read_lines(path: StoragePath) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line that a kill cut short is left out."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
