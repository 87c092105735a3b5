"""Saving beside the training: a thread of each worker writes, while the training continues.

Training waits for a copy of the state in host memory. Several workers learn at their next look that
all files are written; then worker 0 commits the checkpoint, in its thread too.
"""

import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from cyclegan.train.checkpoint.folder import (
    commit_checkpoint,
    folder_of,
    partial_folder,
    record_score,
)
from cyclegan.train.checkpoint.snapshot import (
    HostBuffers,
    Snapshot,
    take_snapshot,
    write_snapshot,
)
from cyclegan.train.distributed import Worker, broadcast_choice, gather
from cyclegan.train.engine.state import TrainState
from mrct.storage.paths import StoragePath

T = TypeVar("T")


class BackgroundSave:
    """The saves of a run on one worker, at most one at a time.

    All workers must call `begin`, `commit` and `finish` alike.
    """

    def __init__(
        self, run_folder: StoragePath, worker: Worker, prune: Callable[[], None] = lambda: None
    ) -> None:
        """Start the thread.

        Args:
            run_folder: Folder of the run.
            worker: This worker; worker 0 commits.
            prune: Called after each commit, on worker 0.
        """
        self.run_folder, self.worker, self.prune = run_folder, worker, prune
        self.buffers = HostBuffers()
        # A new thread's device is GPU 0, which is another worker's: waiting there would open a
        # context on it.
        self.thread = ThreadPoolExecutor(1, "save", use_device, (worker.device,))
        self.step = 0
        self.began, self.took_s = 0.0, 0.0
        self.gathering: StoragePath | None = None
        self.writing: Future[dict[str, str]] | None = None
        self.committing: Future[None] | None = None
        self.recording: Future[None] | None = None
        self.scores: dict[int, float | None] = {}

    def begin(self, state: TrainState, *, validated: bool = False) -> None:
        """Copy the state, and let the thread write it; an earlier save is waited for.

        Args:
            state: State to save.
            validated: Whether a validation of this state has begun, so that `score` will follow.

        Raises:
            OSError: The earlier save failed, or storage cannot be written to.
        """
        self.finish()
        final = folder_of(self.run_folder, state.step)

        def make_folder() -> str:
            attempt = secrets.token_hex(4)
            partial_folder(final, attempt).make_folder(exist_ok=False)
            return attempt

        # A worker left over from before a restart has another attempt, and so another folder.
        attempt = broadcast_choice(make_folder, self.worker)
        snapshot = take_snapshot(
            state, self.buffers, validated=validated, is_rank_zero=self.worker.is_rank_zero
        )
        self.began = time.monotonic()
        self.step, self.gathering = state.step, partial_folder(final, attempt)
        if self.worker.world_size == 1:  # there is nobody to wait for
            self.committing = self.thread.submit(self.write_and_publish, snapshot, self.gathering)
        else:
            self.writing = self.thread.submit(write_snapshot, snapshot, self.gathering)

    @property
    def unfinished(self) -> bool:
        """Whether this worker still writes what the others wait for.

        Raises:
            OSError: The thread failed; the message names the file and what to do.
        """
        futures: list[Future[Any] | None] = [self.writing, self.committing, self.recording]
        for future in futures:
            if future is not None and future.done():
                self.result_of(future)
        return self.writing is not None and not self.writing.done()

    def commit(self) -> None:
        """Let worker 0 commit the checkpoint, once all workers have written; else do nothing."""
        if self.writing is None or self.gathering is None:
            return
        own = self.result_of(self.writing)
        hashes = {
            name: hash_ for files in gather(own, self.worker) for name, hash_ in files.items()
        }
        self.writing = None
        if self.worker.is_rank_zero:
            self.committing = self.thread.submit(self.publish, self.gathering, hashes)

    def score(self, step: int, score: float | None) -> None:
        """Record the score of a checkpoint, on worker 0, as soon as the checkpoint is committed.

        Args:
            step: Step of a checkpoint, whose save has begun.
            score: Validation score, lower is better; None if it was not finite.
        """
        self.scores[step] = score
        if self.writing is None:  # else the commit, which is still to come, records it
            self.recording = self.thread.submit(self.record_scores)

    def write_and_publish(self, snapshot: Snapshot, gathering: StoragePath) -> None:
        """Write a checkpoint and publish it; the thread of a single worker runs this."""
        self.publish(gathering, write_snapshot(snapshot, gathering))

    def publish(self, gathering: StoragePath, hashes: dict[str, str]) -> None:
        """Publish the files of all workers as a checkpoint; worker 0's thread runs this."""
        commit_checkpoint(gathering, folder_of(self.run_folder, self.step), hashes)
        self.took_s = time.monotonic() - self.began
        self.record_scores()

    def record_scores(self) -> None:
        """Record the scores that are there, and delete superfluous checkpoints; worker 0's thread
        runs this."""
        while self.scores:
            step, score = self.scores.popitem()
            record_score(folder_of(self.run_folder, step), score)
        self.prune()

    def finish(self) -> None:
        """Wait until the checkpoint is committed, and the scores that are there are recorded; on
        workers other than 0, until it is written.

        Raises:
            OSError: It could not be written; the message names the file and what to do.
        """
        self.commit()
        for future in filter(None, (self.committing, self.recording)):
            self.result_of(future)
        self.committing = self.recording = None

    def close(self) -> None:
        """End the thread; a save that was not waited for by `finish` is lost."""
        self.thread.shutdown()

    def result_of(self, future: Future[T]) -> T:
        """Return the thread's result, or raise its error with the checkpoint and a remedy."""
        try:
            return future.result()
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            text = (
                f"{reason}. The checkpoint of step {self.step} was not saved, or a score; earlier "
                f"ones are intact. See to it that {self.run_folder} can be written to, and run the "
                "same command again"
            )
            if error.errno is None:
                raise OSError(text) from error
            raise OSError(error.errno, text, error.filename) from error


def use_device(device: torch.device) -> None:
    """Make a device that of the calling thread."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
