"""Signals that ask a command to end: collected, so that it saves before it does."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""From a scheduler, from Ctrl-C, and from a terminal that closes."""
REPEAT_S = 1.0
"""Seconds within which a further signal is the same request: keys bounce, and a closed terminal
signals more than once."""
Signals = list[signal.Signals]


@contextmanager
def collect_signals() -> Iterator[Signals]:
    """Collect the signals instead of ending, within the context; one per `REPEAT_S`.

    A closed terminal stays ignored where it is, as under nohup. Python allows this in the main
    thread only.
    """
    received: Signals = []
    counted = -inf
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def note(number: int, frame: object) -> None:
        nonlocal counted
        if number == signal.SIGHUP:
            discard_output(terminals)
        if time.monotonic() - counted >= REPEAT_S:
            counted = time.monotonic()
            received.append(signal.Signals(number))

    before = {each: signal.signal(each, note) for each in STOP_SIGNALS}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def discard_output(terminals: list[int]) -> None:
    """Send the output of these streams nowhere: their terminal is gone, and a write would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in terminals:
        os.dup2(nowhere, stream)
    os.close(nowhere)


@contextmanager
def outliving_the_terminal() -> Iterator[None]:
    """Let processes that start within ignore that the terminal closes.

    Their command ends them, after it has saved with their help. Other threads than the main one
    cannot do this for the processes that they start.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
