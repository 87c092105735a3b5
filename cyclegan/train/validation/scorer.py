"""Where a worker's validation scores are computed: at once, while the training waits, or in a
process of its own, beside the training.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Semaphore
from typing import Any, TypeVar

import torch

from cyclegan.config.config import Config
from cyclegan.train.distributed import Worker, broadcast_choice
from data_prep.store.history import as_of
from data_prep.store.store import Store, open_store
from mrct.storage.paths import StoragePath

T = TypeVar("T")
MAX_WAITING = 8
"""Volumes that may wait for the process: each keeps its cycle in memory, 136 MB for one of
160 x 256 x 256."""
NICENESS = 5
"""By how much the process yields to the training where cores are scarce after all."""


class Scorer:
    """Computes what needs no network, at once."""

    is_beside = False
    """Whether training continues meanwhile."""
    restarts = 0
    """How often its process died; that work was then done in the training's process."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def submit(self, work: Callable[..., T]) -> Future[T]:
        """Return the result of `work(store=...)`."""
        future: Future[T] = Future()
        future.set_result(work(store=self.store))
        return future

    def close(self) -> None:
        """Give up what is not computed yet."""


class ScorerProcess(Scorer):
    """Computes in a process of its own, one work after the other.

    A thread sends them and waits. If the process dies, of whatever cause, the thread does the
    work itself, and an error in it is raised by the future; the next work gets a new process.
    """

    is_beside = True

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.thread = ThreadPoolExecutor(1, "score")
        self.room = Semaphore(MAX_WAITING)
        self.is_closed = False
        self.start()  # importing takes it seconds, so not only when there is work

    def start(self) -> None:
        """Start the process, which ends with this one."""
        # A fork would copy the locks of this process's threads, and its GPU context.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=compute_scores,
            args=(theirs, self.store.path, self.store.contents),
            name="scorer",
            daemon=True,
        )
        self.process.start()
        theirs.close()  # or the end of the process would not be noticed

    def submit(self, work: Callable[..., T]) -> Future[T]:
        """Send the work; where much waits already, this waits too."""
        self.room.acquire()
        future = self.thread.submit(self.compute, work)
        future.add_done_callback(lambda _: self.room.release())
        return future

    def compute(self, work: Callable[..., T]) -> T:
        """Let the process do the work, or do it; the thread runs this."""
        try:
            if not self.process.is_alive():
                self.start()
            self.connection.send(work)
            result: T = self.connection.recv()
        except (EOFError, OSError):
            if self.is_closed:
                raise
            self.process.kill()
            self.process.join()  # or it would still seem to live
            self.restarts += 1
            return work(store=self.store)
        return result

    def close(self) -> None:
        """Kill the process; what it has not computed is lost."""
        self.is_closed = True
        self.process.kill()
        self.thread.shutdown(cancel_futures=True)
        self.connection.close()  # ends one that the thread has just started
        self.process.join()


def compute_scores(connection: Connection, path: StoragePath, contents: str) -> None:
    """Do the works that arrive, until the other side closes; the scorer process runs this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too, but the worker decides
    os.nice(NICENESS)
    torch.set_num_threads(1)
    store = as_of(open_store(path), contents)  # others may have been added since
    assert store is not None, "the store has changed"
    with suppress(EOFError):
        while True:
            work: Callable[..., Any] = connection.recv()
            connection.send(work(store=store))


def open_scorer(store: Store, config: Config, worker: Worker) -> Scorer:
    """Return the scorer that `scale.scoring` asks for; worker 0 decides for all."""
    choice = config.scale.scoring
    if choice == "auto":
        # On a CPU torch computes on so many cores; a GPU needs one for the steps.
        computing = torch.get_num_threads() if worker.device.type == "cpu" else 1
        spare = worker.cores - computing - config.data.threads
        choice = "beside" if spare >= 1 and not config.train.deterministic else "inline"
    beside = broadcast_choice(lambda: choice, worker) == "beside"
    return ScorerProcess(store) if beside else Scorer(store)
