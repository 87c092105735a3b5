"""Jobs as Ray tasks, or one after the other in this process. The home of Ray in data_prep."""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from data_prep.conversion import Outcome, convert_job, refused
from data_prep.discover import Job
from data_prep.settings import ConvertSettings

_TASKS_PER_WORKER = 2


def outcomes_of(jobs: Iterable[Job], settings: ConvertSettings) -> Iterator[Outcome]:
    """What becomes of each source, in the order in which jobs end."""
    if settings.workers == 0:
        for job in jobs:
            yield from convert_job(job, settings)
    else:
        yield from _by_ray(jobs, settings)


def _by_ray(jobs: Iterable[Job], settings: ConvertSettings) -> Iterator[Outcome]:
    """Run the jobs as Ray tasks, a bounded number in flight; outcomes as they come."""
    import ray  # takes seconds, and workers=0 does without

    from data_prep.ray_session import ray_session

    workers = settings.workers or len(os.sched_getaffinity(0))
    # A task that kills its worker (memory, a crash in C) is tried once more; one CPU per task
    # also makes Ray set OMP_NUM_THREADS to 1 in it.
    task = ray.remote(num_cpus=1, max_retries=1)(convert_job)
    queue = iter(jobs)
    flying: dict[Any, Job] = {}
    with ray_session(settings.ray_address, num_cpus=workers):
        while True:
            for job in itertools.islice(queue, _TASKS_PER_WORKER * workers - len(flying)):
                flying[task.remote(job, settings)] = job
            if not flying:
                return
            done = ray.wait(list(flying), num_returns=1)[0][0]
            job = flying.pop(done)
            try:
                outcomes = ray.get(done)
            except ray.exceptions.RayError as error:
                outcomes = [refused(source, "", error) for source in job.sources]
            yield from outcomes
