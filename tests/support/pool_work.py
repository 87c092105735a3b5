"""Work for the processes of a pool, which may die of it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Numbers = Callable[[Iterator[int]], Iterator[tuple[int, int]]]


def open_squares(folder: Path) -> Numbers:
    """Squares with the process that made them; one item is taken ahead, as `translate` does.

    Both processes wait for each other if the folder has a file `both`.
    """

    if (folder / "both").exists():
        (folder / f"{os.getpid()}.here").touch()
        ends = time.monotonic() + 60
        while len(list(folder.glob("*.here"))) < 2 and time.monotonic() < ends:
            time.sleep(0.02)

    def squares(numbers: Iterator[int]) -> Iterator[tuple[int, int]]:
        ahead = next(numbers, None)
        while ahead is not None:
            number, ahead = ahead, next(numbers, None)
            if number < 0:
                raise ValueError(f"no root of {number}")
            die_of(number, folder)
            time.sleep(0.02)
            yield number**2, os.getpid()

    return squares


def die_of(number: int, folder: Path) -> None:
    """Die where the folder says so: always, or the first time."""
    once = folder / f"once-{number}"
    if (folder / f"always-{number}").exists() or once.exists():
        once.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def open_nothing() -> Numbers:
    """Die before any work."""
    os._exit(7)


def open_odd_results(*_: object) -> Callable[[Iterator[object]], Iterator[str]]:
    """Results that the first process does not know, each of an item while others wait."""
    return lambda items: ("odd" for _ in items)
