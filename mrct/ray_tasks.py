"""Runs a function on many parts of some work: as Ray tasks, or one after the other here."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from mrct.errors import UnreachableError

TASKS_PER_CORE = 2
"""Tasks waiting or running, so that no core waits and results do not pile up."""
Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def task_session(workers: int | None) -> Iterator[None]:
    """Connect to Ray, unless it is to be done without or a block around this one has done so.

    Args:
        workers: Tasks at a time on a Ray that is started here; 0 does without Ray, None uses all
            cores. A Ray that runs already is used as it is.
    """
    if workers == 0:
        yield
        return
    from mrct.ray_session import ray_session  # takes seconds, and workers=0 does without

    with ray_session(num_cpus=workers):
        yield


def task_results(
    task: Callable[..., Result],
    parts: Iterable[Part],
    workers: int | None,
    *shared: object,
    purpose: str,
) -> Iterator[Result]:
    """Yield what a task makes of each part, in their order.

    Args:
        task: Called with a part and all of `shared`, with one core and one thread.
        parts: Drawn as tasks become free.
        workers: As for `task_session`.
        shared: Sent once to each node.
        purpose: What is done, for the message: "while ...".

    Raises:
        UnreachableError: Ray was lost.
    """
    if workers == 0:
        yield from (task(part, *shared) for part in parts)
        return
    import ray

    with task_session(workers):
        # DEFAULT: where a trial of a search calls this, its placement group has no core for tasks.
        remote = ray.remote(num_cpus=1, scheduling_strategy="DEFAULT")(_run)
        sent = [ray.put(each) for each in shared]
        waiting, flying = iter(parts), deque[object]()
        while True:
            # A cluster that grows with its tasks has none of their cores at first.
            most = TASKS_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
            for part in islice(waiting, most - len(flying)):
                flying.append(remote.remote(task, part, *sent))
            if not flying:
                return
            try:
                yield ray.get(flying.popleft())
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                raise UnreachableError(
                    f"Ray, or the node of a task, was lost ({type(error).__name__}) while "
                    f"{purpose}. Run the same command again."
                ) from error


def _run(task: Callable[..., Result], part: object, *shared: object) -> Result:
    return task(part, *shared)  # Ray takes functions alone, and a task may be a partial one
