"""How a run ends before its end: a signal to the command becomes a file that its workers look for.

Workers may be on other machines, in threads that no signal reaches; all of them reach the run
folder. They save at the same step and return; the command waits for that, but not for ever.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import NoReturn

from cyclegan.errors import StoppedError
from mrct.storage.paths import StoragePath

STOP = ".stop"
"""In the run folder: the workers are to save and return."""
Signals = list[signal.Signals]


def told_to_stop(run_folder: StoragePath) -> bool:
    """Whether the command asks its workers to end; in an outage of the storage, not yet."""
    with suppress(OSError):
        return (run_folder / STOP).exists()
    return False


def now_and_then(question: Callable[[], bool], every_s: float) -> Callable[[], bool]:
    """The question, asked only when `every_s` have passed since the last time; else "no"."""
    asked = 0.0

    def ask() -> bool:
        nonlocal asked
        now = time.monotonic()
        if now - asked < every_s:
            return False
        asked = now
        return question()

    return ask


@contextmanager
def noted_signals(run_folder: StoragePath) -> Iterator[Signals]:
    """Collect SIGTERM, which schedulers send before they take a machine away, and SIGINT, which is
    Ctrl-C, instead of dying of them. In the main thread only, as Python wants it."""
    came: Signals = []

    def note(number: int, frame: object) -> None:
        came.append(signal.Signals(number))

    (run_folder / STOP).remove()
    before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        (run_folder / STOP).remove()


def run_until_told(
    work: Callable[[], None], run_folder: StoragePath, came: Signals, grace_s: float
) -> bool:
    """Do the work in another thread; when a signal comes, ask the workers to end and wait.

    Returns whether the work ended. It did not where the workers took longer than `grace_s`, or
    where a second signal came; then the thread is left alone.
    """
    ended: Future[None] = Future()

    def do() -> None:
        try:
            work()
            ended.set_result(None)
        except BaseException as error:  # handed to whoever waits
            ended.set_exception(error)

    threading.Thread(target=do, name="training", daemon=True).start()
    deadline = float("inf")
    # A short wait at a time: Python runs signal handlers between two of them.
    while not wait([ended], timeout=0.2).done:
        if came and deadline == float("inf"):
            deadline = time.monotonic() + grace_s
            (run_folder / STOP).put(b"")
            print(
                f"{came[0].name}: the workers save and end. A second signal ends them at once.",
                file=sys.stderr,
                flush=True,
            )
        if len(came) > 1 or time.monotonic() > deadline:
            return False
    ended.result()
    return True


def end_at_once(error: StoppedError) -> NoReturn:
    """End the process with a message, while another thread still waits in Ray.

    Unwinding would shut Ray down under that thread, which aborts the process. Without it, a local
    Ray and all workers end with the process.
    """
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(int(error.exit_code))
