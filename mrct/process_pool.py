"""Work on many items in several processes of this machine, each item once, though one may die."""

import signal
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

from mrct.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Iterator[Item]], Iterator[Result]]
"""Yields a result for each item, in order; it may take some items ahead."""

_ENDED = "ended"
_MOST_IDLE_DEATHS = 3
"""Deaths of processes that had no item, after which no further one is started."""
_DEATHS_OF_AN_ITEM = 2
_TIME_TO_END_S = 10.0
"""Seconds for a process to end by itself, before it is killed."""


class ProcessDiedError(UserError):
    """Processes die without any item, so that none can be blamed."""


@dataclass(slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    given: deque[int] = field(default_factory=deque)
    """Numbers of its items that have no result yet, in order."""
    asks: bool = False
    """Whether it waits for an item, or for the end of its stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessPool(Generic[Item, Result]):
    """Processes that take items from a common list, one after the other."""

    items: Sequence[Item]
    open_work: Callable[[], Work[Item, Result]]
    """Called once in each process; it is pickled, as are items and results."""
    give_up: Callable[[Item], Result]
    """The result of an item that two processes died of: the second had no other."""
    processes: int

    def run(self) -> Generator[Result, None, None]:
        """Yield a result for every item, as they come.

        The items of a process that died are given to others, one at a time and after all others,
        so that only the item that kills is given up. An exception in a process is raised here.
        Closing the generator ends the processes, which an error elsewhere may have left.

        Raises:
            ProcessDiedError: Processes die before they take an item.
        """
        todo, again = deque(range(len(self.items))), deque[int]()
        deaths: Counter[int] = Counter()
        workers: dict[Connection, _Worker] = {}
        left, idle_deaths = len(self.items), 0
        try:
            while left:
                while len(workers) < min(self.processes, left):
                    worker = self._start()
                    workers[worker.connection] = worker
                for ready in wait(list(workers)):
                    assert isinstance(ready, Connection)
                    worker = workers[ready]
                    try:
                        kind, value = ready.recv()
                    except (EOFError, OSError):
                        del workers[ready]
                        worker.process.join()
                        idle_deaths += not worker.given
                        if idle_deaths > _MOST_IDLE_DEATHS:
                            raise _died(worker.process) from None
                        deaths.update(worker.given)
                        again += [n for n in worker.given if deaths[n] < _DEATHS_OF_AN_ITEM]
                        for number in worker.given:
                            if deaths[number] == _DEATHS_OF_AN_ITEM:
                                left -= 1
                                yield self.give_up(self.items[number])
                        continue
                    if kind == "error":
                        raise value
                    if kind == "result":
                        worker.given.popleft()
                        left -= 1
                        yield value
                    worker.asks = worker.asks or kind == "ask"
                for worker in workers.values():
                    self._answer(worker, todo, again)
        finally:
            _end(list(workers.values()))

    def _start(self) -> _Worker:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_serve, args=(theirs, self.open_work))
        process.start()
        theirs.close()  # else its end would not be seen
        return _Worker(process=process, connection=ours)

    def _answer(self, worker: _Worker, todo: deque[int], again: deque[int]) -> None:
        """Give the worker an item, or end its stream so that it finishes what it has; else it
        waits."""
        if not worker.asks:
            return
        if todo:
            number = todo.popleft()
        elif again and not worker.given:
            number = again.popleft()
        elif worker.given:
            worker.asks = not _sent(worker.connection, (_ENDED, None))
            return
        else:
            return
        worker.given.append(number)
        worker.asks = False
        _sent(worker.connection, ("item", self.items[number]))


def _sent(connection: Connection, message: tuple[str, object]) -> bool:
    """Send a message; if the process has died, its end is seen when it is read from."""
    try:
        connection.send(message)
    except OSError:
        return False
    return True


def _serve(connection: Connection, open_work: Callable[[], Work[Item, Result]]) -> None:
    """Run in a process: work on streams of items until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the first process ends these

    def stream() -> Iterator[Item]:
        while True:
            connection.send(("ask", None))
            kind, item = connection.recv()
            if kind == _ENDED:
                return
            yield item

    try:
        work = open_work()
        while True:
            for result in work(stream()):
                connection.send(("result", result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the first process has ended, or needs no more
    except Exception as error:
        connection.send(("error", error))


def _end(workers: Iterable[_Worker]) -> None:
    """End processes: those that wait see their connection close, others are terminated."""
    for worker in workers:
        worker.connection.close()
        if worker.given:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_TIME_TO_END_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _died(process: SpawnProcess) -> ProcessDiedError:
    code = process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ProcessDiedError(
        f"Processes end before they take any work ({how}): memory may be too small for so many. "
        "What is done stays. Give fewer --processes and run the same command again."
    )
