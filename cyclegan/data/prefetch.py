"""A thread that makes the batches of the steps to come, and a watchdog that names it when it stops.

It knows nothing of what is made. Threads and not processes: reading and DALI's work run outside of
Python's lock, so nothing has to be copied between processes (docs/scaling.md has the comparison).
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from cyclegan.errors import LoaderError

Item = TypeVar("Item")
ITEMS_AHEAD = 2
"""Items that wait ready while a step computes."""
TICK_S = 0.25
"""How often a waiting consumer looks after the thread."""
MOST_LOST_THREADS = 2
"""Threads started for one item before the loader gives up."""
LEAVE_S = 5.0
"""How long a thread that is told to end is waited for."""


class Heartbeat:
    """What a loader is doing; each sign of life counts."""

    def __init__(self) -> None:
        self.count = 0
        self.stage = "starting"

    def __call__(self, stage: str) -> None:
        self.stage = stage
        self.count += 1


Produce = Callable[[int, Heartbeat], Iterator[Item]]
"""The items of steps n, n + 1, ...; called again, from the step that is due, after a stall."""


def load_ahead(
    produce: Produce[Item], start_step: int, *, stall_s: float, note: Callable[[str], None]
) -> Generator[Item, None, None]:
    """The items of `produce`, made ahead; an error reaches the `next` of its step.

    Where the thread gives no sign of life for `stall_s`, it is left behind and another one starts
    at the same step: items depend on their step alone, so nothing is lost or repeated.

    Raises:
        LoaderError: MOST_LOST_THREADS threads in a row stalled or died; says what they were doing.
    """
    step, tries = start_step, 0
    while True:
        thread = _LoaderThread(produce, step)
        leave_s = LEAVE_S
        try:
            while True:
                item = thread.next(stall_s)
                tries = 0
                yield item
                step += 1
        except LoaderError as error:
            tries, leave_s = tries + 1, 0.0  # it may never wake
            if tries == MOST_LOST_THREADS:
                raise
            note(f"{error} It is started again at step {step}.")
        finally:
            thread.stop(leave_s)


class _LoaderThread(Generic[Item]):
    """One thread at work. A daemon: a process must be able to end while a read hangs."""

    def __init__(self, produce: Produce[Item], step: int) -> None:
        self._ready: queue.Queue[Item | BaseException] = queue.Queue(ITEMS_AHEAD)
        self._stopped = threading.Event()
        self._heartbeat = Heartbeat()
        self._thread = threading.Thread(
            target=self._run, args=(produce, step), name=f"stream from step {step}", daemon=True
        )
        self._thread.start()

    def next(self, stall_s: float) -> Item:
        """The next item, or what the thread raised, or LoaderError when it is stuck or gone."""
        seen, quiet_s = self._heartbeat.count, 0.0
        while True:
            # Gone is looked at before the queue is: the last item may have been its last act.
            gone = not self._thread.is_alive()
            waiting = time.monotonic()
            try:
                item = self._ready.get(timeout=TICK_S)
            except queue.Empty:
                if gone:
                    raise LoaderError(self._found("has ended without an error")) from None
            else:
                if isinstance(item, BaseException):
                    raise item
                return item
            # A process that was stopped and goes on must not take its own sleep for a stall.
            quiet_s += min(time.monotonic() - waiting, 2 * TICK_S)
            if (count := self._heartbeat.count) != seen:
                seen, quiet_s = count, 0.0
            elif quiet_s >= stall_s:
                raise LoaderError(self._found(f"has made no progress for {stall_s:g} s"))

    def stop(self, wait_s: float) -> None:
        """Tell the thread to end, and wait for it."""
        self._stopped.set()
        with suppress(queue.Empty):
            self._ready.get_nowait()  # it may be waiting for room
        self._thread.join(timeout=wait_s)

    def _found(self, what: str) -> str:
        return (
            f"The loader of batches {what}; it was {self._heartbeat.stage}. The step waits for its "
            "batch, and all other workers for the step. See whether the store's disk or network "
            "answers; where it is only slow, allow more with --data.stall-s."
        )

    def _run(self, produce: Produce[Item], step: int) -> None:
        try:
            for item in produce(step, self._heartbeat):
                self._put(item)
                if self._stopped.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Item | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=TICK_S)
            except queue.Full:
                continue
            return
