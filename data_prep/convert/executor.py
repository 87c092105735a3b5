"""Runs jobs as Ray tasks, or one after the other in this process."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from data_prep.convert.conversion_plan import ConversionJob
from data_prep.convert.worker import ConversionOutcome, refusal_of
from mrct.errors import UnreachableError, VolumeError

Conversion = Callable[[ConversionJob], list[ConversionOutcome]]
"""Converts the sources of a job and never raises."""
_TASKS_PER_WORKER = 2
_FLOOR_BYTES = 512 << 20
_BYTES_PER_STORED = 16
"""Memory per byte on disk: packed voxels become float32, and processing needs several copies."""


def run_jobs(
    jobs: Iterable[ConversionJob],
    convert: Conversion,
    workers: int | None,
    ray_address: str | None = None,
) -> Iterator[ConversionOutcome]:
    """Yield the outcome of each source, in the order in which jobs end.

    Args:
        jobs: What to convert.
        convert: Applied to each job.
        workers: Jobs run at a time; 0 runs them in this process, None uses all cores.
        ray_address: A running Ray cluster; None starts Ray here.
    """
    if workers == 0:
        for job in jobs:
            yield from convert(job)
    else:
        yield from _by_ray(jobs, convert, num_workers(workers), ray_address)


def num_workers(workers: int | None) -> int:
    """Return how many volumes are converted at a time."""
    return len(os.sched_getaffinity(0)) if workers is None else max(1, workers)


def _by_ray(
    jobs: Iterable[ConversionJob], convert: Conversion, workers: int, ray_address: str | None
) -> Iterator[ConversionOutcome]:
    """Run the jobs as Ray tasks, a bounded number at a time; yield outcomes as they come.

    A job whose task dies is retried once, alone, after all others. If its own process dies again
    (out of memory, a crash in C), its sources are refused.

    Raises:
        UnreachableError: Ray or the nodes of the tasks were lost, which no volume is to blame for.
    """
    import ray  # takes seconds, and workers=0 does without

    from mrct.ray_session import ray_session

    queue = iter(jobs)
    flying: dict[Any, ConversionJob] = {}
    died: list[ConversionJob] = []
    of_the_task = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.RayTaskError,
    )
    with ray_session(ray_address, num_cpus=workers):
        start = _starter(convert)
        while True:
            for job in itertools.islice(queue, _TASKS_PER_WORKER * workers - len(flying)):
                flying[start(job)] = job
            if not flying:
                break
            done = ray.wait(list(flying), num_returns=1)[0][0]
            job = flying.pop(done)
            try:
                outcomes = ray.get(done)
            except ray.exceptions.RayError:
                died.append(job)
            else:
                yield from outcomes
        for job in died:
            try:
                outcomes = ray.get(start(job))
            except of_the_task as error:
                outcomes = [refusal_of(source, "", _task_died(error)) for source in job.sources]
            except ray.exceptions.RayError as error:
                raise _ray_lost(error) from error
            yield from outcomes


def _starter(convert: Conversion) -> Callable[[ConversionJob], Any]:
    """Return a function that starts the task of a job with a memory request a node can meet."""
    import ray

    largest = max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"])

    # No retries by Ray: it would run a task that eats memory beside others again. One CPU per
    # task also makes Ray set OMP_NUM_THREADS to 1 in it.
    task = ray.remote(num_cpus=1, max_retries=0)(_run)

    def start(job: ConversionJob) -> Any:
        stored = sum(source.size_bytes() for source in job.sources)
        wanted = _FLOOR_BYTES + _BYTES_PER_STORED * stored
        return task.options(memory=min(wanted, int(largest))).remote(convert, job)

    return start


def _run(convert: Conversion, job: ConversionJob) -> list[ConversionOutcome]:
    return convert(job)


def _task_died(error: BaseException) -> VolumeError:
    return VolumeError(
        "task-died",
        f"The process that converted it died twice ({type(error).__name__}), the second time while "
        "no other task ran: the volume needs more memory than there is, or it crashes a library.",
        "Convert it alone where more memory is free (--workers 0). If it dies again, report it.",
    )


def _ray_lost(error: BaseException) -> UnreachableError:
    return UnreachableError(
        f"Ray, or the node of a task, was lost ({type(error).__name__}), and no volume is refused "
        "for that. The volumes written so far are kept: run the same command again, with --workers "
        "0 if it should do without Ray."
    )
