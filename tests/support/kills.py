"""Work in a fork that is killed at a chosen moment."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path


def is_killed(work: Callable[[], object]) -> bool:
    """Do the work in a fork; return whether it killed itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def kill_this_process() -> None:
    """End as by the kernel's hand: nothing of the process runs after it."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_before_rename(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a fork that is killed before its rename of this number, counted from 0; return
    whether it was."""

    def doomed() -> None:
        rename, count = os.rename, itertools.count()

        def counted(source: Path, target: Path) -> None:
            if next(count) == number:
                kill_this_process()
            rename(source, target)

        os.rename = counted
        work()

    return is_killed(doomed)
