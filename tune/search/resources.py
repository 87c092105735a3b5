"""Compute how many trials run concurrently on a cluster, and the resources of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from cyclegan.config.config import ScaleConfig
from cyclegan.errors import ConfigError
from cyclegan.train.run.resources import (
    Machine,
    cores_of_worker,
    gpu_slots,
    largest_share,
    uses_gpus,
    workers_that_fit,
)
from mrct.ray_session import HEAD, WHERE_ADDED

SHARES_OF_A_RESOURCE = 10_000
"""Smallest fraction of a resource in Ray."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResources:
    """The resources of each trial and the number of concurrent trials."""

    concurrent: int
    cpus_per_worker: int
    use_gpu: bool
    leader: dict[str, float]
    """Reservation of the process that leads a trial, so that at most `concurrent` of them fit:
    memory, or a share of the head if machines are added later whose memory is unknown. The process
    only waits, so it reserves no core; Tune has no other way to keep the members of a population
    from all starting at once."""
    text: str
    """Description for the console."""


def resources_for(
    scale: ScaleConfig, machines: Sequence[Machine], trials: int, max_concurrent: int = 0
) -> TrialResources:
    """Return how many of `trials` run concurrently, at most `max_concurrent` if it is not 0.

    Trials on GPUs share the CPU cores evenly; without GPUs a single trial runs, whose workers share
    all cores, unless `max_concurrent` or `cpus_per_worker` allows more trials.

    Raises:
        ConfigError: Not even one trial fits; Ray would wait forever.
    """
    use_gpu = uses_gpus(scale, machines)
    most = min(trials, max_concurrent or trials)
    if use_gpu:
        wanted = min(most, sum(gpu_slots(scale, machine) for machine in machines) // scale.workers)
    elif scale.cpus_per_worker:
        wanted = most
    else:
        wanted = min(most, max_concurrent or 1)
    cores = cores_of_worker(scale, machines, max(1, wanted) * scale.workers)
    fit = min(wanted, workers_that_fit(scale, machines, cores) // scale.workers)
    each = f"{scale.workers} worker{'s' * (scale.workers > 1)} with {cores} CPU core" + "s" * (
        cores > 1
    )
    if use_gpu:
        each += f" and {scale.gpus_per_worker:g} GPU"
    cpus, gpus = (sum(machine.get(name, 0) for machine in machines) for name in ("CPU", "GPU"))
    has = f"{cpus:g} CPU cores and {gpus:g} GPUs on {len(machines)} machine" + "s" * (
        len(machines) > 1
    )
    if fit < 1:
        raise ConfigError(
            f"A trial needs {each}, for which the cluster has no room: it has {has}, and Ray would "
            "wait forever. Lower --scale.workers, --scale.cpus-per-worker or "
            f"--scale.gpus-per-worker, or add machines. {WHERE_ADDED}"
        )
    return TrialResources(
        concurrent=fit,
        cpus_per_worker=cores,
        use_gpu=use_gpu,
        leader=leader_of(machines, fit),
        text=f"{fit} at a time, each with {each} ({has})",
    )


def leader_of(machines: Sequence[Machine], concurrent: int) -> dict[str, float]:
    """Return a reservation of which `concurrent` fit."""
    memory = [int(machine.get("memory", 0)) for machine in machines]
    if all(memory):
        return {"memory": largest_share(memory, memory, concurrent)}
    return {HEAD: floor(SHARES_OF_A_RESOURCE / concurrent) / SHARES_OF_A_RESOURCE}
