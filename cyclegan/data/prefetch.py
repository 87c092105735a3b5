"""Prefetch thread that prepares the batches of the next steps, with a watchdog for stalls.

It uses threads instead of processes: reading and DALI run outside of Python's global lock, and
nothing has to be copied between processes (comparison in docs/scaling.md).
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
"""Items prepared in advance while a step computes."""
TICK_S = 0.25
"""Seconds between two checks of the thread by a waiting consumer."""
MAX_LOST_THREADS = 2
"""Threads started for one item before the loader fails."""
FIRST_ITEM_FACTOR = 6
"""So many times as long may the first item of all take as a later one: libraries are loaded for it,
often by many processes at once from shared storage, and a GPU is set up."""
EXIT_WAIT_S = 5.0
"""Seconds to wait for a thread to end after it was stopped."""


class Heartbeat:
    """Progress of a loader: a counter, and a description of the current stage."""

    def __init__(self) -> None:
        self.count = 0
        self.stage = "starting"

    def __call__(self, stage: str) -> None:
        """Count a sign of progress, at the beginning of a stage."""
        self.stage = stage
        self.count += 1


Produce = Callable[[int, Heartbeat], Iterator[Item]]
"""Function that returns the items of steps n, n + 1, ...; after a stall it is called again with the
step that is due."""


def prefetch(
    produce: Produce[Item], start_step: int, *, stall_s: float, note: Callable[[str], None]
) -> Generator[Item, None, None]:
    """Yield the items of `produce`, prepared ahead by a thread.

    A thread without a heartbeat for `stall_s` is abandoned, and another one starts at the same
    step; until the first item, it is FIRST_ITEM_FACTOR times as long. Items depend on their step
    alone, so nothing is lost or repeated. An exception in `produce` is raised by the `next` of its
    step. Closing the generator ends its thread.

    Args:
        produce: Called with a step and a heartbeat; returns the items from this step on.
        start_step: Step of the first item.
        stall_s: Seconds without a heartbeat after which a thread counts as stalled.
        note: Called with a message for the user when a thread is restarted.

    Raises:
        LoaderError: MAX_LOST_THREADS threads in a row stalled or died; the message contains what
            the last one was doing.
    """
    step, tries = start_step, 0
    while True:
        thread = _LoaderThread(produce, step)
        leave_s = EXIT_WAIT_S
        try:
            while True:
                item = thread.next(stall_s * (FIRST_ITEM_FACTOR if step == start_step else 1))
                tries = 0
                yield item
                step += 1
        except LoaderError as error:
            tries, leave_s = tries + 1, 0.0  # it may never wake
            if tries == MAX_LOST_THREADS:
                raise
            note(f"{error} It is restarted at step {step}.")
        finally:
            thread.stop(leave_s)


class _LoaderThread(Generic[Item]):
    """A producing thread; a daemon, because a process must be able to exit during a hung read."""

    def __init__(self, produce: Produce[Item], step: int) -> None:
        self._ready: queue.Queue[Item | BaseException] = queue.Queue(ITEMS_AHEAD)
        self._stopped = threading.Event()
        self._heartbeat = Heartbeat()
        self._thread = threading.Thread(
            target=self._run, args=(produce, step), name=f"stream from step {step}", daemon=True
        )
        self._thread.start()

    def next(self, stall_s: float) -> Item:
        """Return the next item, or raise what the thread raised.

        Args:
            stall_s: Seconds without a heartbeat after which the thread counts as stalled.

        Raises:
            LoaderError: The thread has stalled or ended.
        """
        seen, quiet_s = self._heartbeat.count, 0.0
        while True:
            # Check this before the queue: the thread may end right after it put the last item.
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
            # A process that was suspended and resumed must not count its own pause as a stall.
            quiet_s += min(time.monotonic() - waiting, 2 * TICK_S)
            if (count := self._heartbeat.count) != seen:
                seen, quiet_s = count, 0.0
            elif quiet_s >= stall_s:
                raise LoaderError(self._found(f"has made no progress for {stall_s:g} s"))

    def stop(self, wait_s: float) -> None:
        """Stop the thread, and wait at most `wait_s` seconds for it to end."""
        self._stopped.set()
        with suppress(queue.Empty):
            self._ready.get_nowait()  # it may be waiting for a free slot
        self._thread.join(timeout=wait_s)

    def _found(self, what: str) -> str:
        return (
            f"The batch loader {what}; it was {self._heartbeat.stage}. The step waits for its "
            "batch, and all other workers wait for the step. Check whether the store's disk or "
            "network responds; if it is only slow, allow more time with --data.stall-s."
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
