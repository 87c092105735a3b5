"""Early stop of a run: a signal to the command becomes a file that its workers check for.

Workers may run on other machines, in threads that receive no signals, but all of them can read the
run folder. They save at the same step and return; the command waits for a limited time.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import NoReturn

from cyclegan.errors import StoppedError
from mrct.stop_signals import Signals, collect_signals
from mrct.storage.paths import StoragePath

STOP = ".stop"
"""File in the run folder that requests the workers to save and return."""


def stop_requested(run_folder: StoragePath) -> bool:
    """Return whether the command requests its workers to stop; False if the storage fails."""
    with suppress(OSError):
        return (run_folder / STOP).exists()
    return False


def ask_at_most_every(question: Callable[[], bool], every_s: float) -> Callable[[], bool]:
    """Limit how often a question is evaluated: False within `every_s` seconds of the last time."""
    asked = -math.inf

    def ask() -> bool:
        nonlocal asked
        now = time.monotonic()
        if now - asked < every_s:
            return False
        asked = now
        return question()

    return ask


@contextmanager
def requests_to_stop(run_folder: StoragePath) -> Iterator[Signals]:
    """Collect the signals to stop, and forget the request of an earlier command."""
    (run_folder / STOP).remove()
    try:
        with collect_signals() as received:
            yield received
    finally:
        (run_folder / STOP).remove()


def run_until_stopped(
    work: Callable[[], None], run_folder: StoragePath, received: Signals, grace_s: float
) -> bool:
    """Run the work in another thread; on a signal, request the workers to stop and wait.

    Returns:
        Whether the work ended. False if the workers took longer than `grace_s` seconds, or a second
        signal arrived; the thread then keeps running.
    """
    ended: Future[None] = Future()

    def do() -> None:
        try:
            work()
            ended.set_result(None)
        except BaseException as error:  # raised in the waiting thread
            ended.set_exception(error)

    threading.Thread(target=do, name="training", daemon=True).start()
    deadline = float("inf")
    # A short wait at a time: Python runs signal handlers between two of them.
    while not wait([ended], timeout=0.2).done:
        if received and deadline == float("inf"):
            deadline = time.monotonic() + grace_s
            (run_folder / STOP).put(b"")
            print(
                f"{received[0].name}: the workers save and exit. A second signal stops them at "
                f"once.",
                file=sys.stderr,
                flush=True,
            )
        if len(received) > 1 or time.monotonic() > deadline:
            return False
    ended.result()
    return True


def exit_immediately(error: StoppedError) -> NoReturn:
    """Exit the process with a message, while another thread still waits in Ray.

    A normal exit would shut Ray down under that thread, which aborts the process. This way a local
    Ray and all workers end with the process.
    """
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(int(error.exit_code))
