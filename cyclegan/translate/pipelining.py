"""Run three stages concurrently: while one item is processed, the next is read and the previous one
written.
"""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Written = TypeVar("Written")


def run_pipelined(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    work: Callable[[Read], Made],
    write: Callable[[Made], Written],
) -> Generator[Written, None, None]:
    """Yield the result of `write` for each item, in order; `work` runs in the caller's thread.

    At most three items are in memory, one per stage. The first exception of a stage is raised, and
    items not yet started are skipped.
    """
    todo = iter(items)
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def next_one() -> Future[Read] | None:
            for item in todo:
                return reader.submit(read, item)
            return None

        ahead, behind = next_one(), None
        while ahead is not None:
            ready = ahead.result()
            ahead = next_one()
            made = work(ready)
            del ready
            if behind is not None:
                yield behind.result()
            behind = writer.submit(write, made)
            del made
        if behind is not None:
            yield behind.result()
