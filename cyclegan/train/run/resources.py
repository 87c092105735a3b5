"""Resources of a run on a cluster: how many workers fit, and how many cores each of them gets."""

from collections.abc import Mapping, MutableMapping, Sequence

from cyclegan.config.config import ScaleConfig

Machine = Mapping[str, float]
"""Resources of a node by Ray's names: CPU, GPU, memory."""

THREADS_VARIABLE = "OMP_NUM_THREADS"
"""Environment variable that limits the threads of a process; where it is not set, Ray sets it to
the cores of the worker."""
COMPILING_VARIABLE = "TORCHINDUCTOR_COMPILE_THREADS"
"""Environment variable with the number of processes that compile for a worker."""
MAX_COMPILING = 32
"""torch's own limit to them."""


def limit_compiling(environment: MutableMapping[str, str], cores: int) -> None:
    """Let a worker compile on its own cores, unless the user has set their number.

    By default every worker starts a process for each core of the machine, so that eight workers
    start 256 of them.
    """
    environment.setdefault(COMPILING_VARIABLE, str(min(cores, MAX_COMPILING)))


def idle_cores(environment: Mapping[str, str], cores: int) -> list[str]:
    """Return a note if OMP_NUM_THREADS leaves some of a worker's cores idle."""
    limit = environment.get(THREADS_VARIABLE, "")
    if not limit.isdecimal() or int(limit) >= cores:
        return []
    return [
        f"{THREADS_VARIABLE} limits a worker to {limit} of its {cores} cores. To use all of them, "
        "unset it where Ray and this command start."
    ]


def uses_gpus(scale: ScaleConfig, machines: Sequence[Machine]) -> bool:
    """Return whether workers get GPUs."""
    return scale.gpu == "yes" or (
        scale.gpu == "auto" and any(machine.get("GPU", 0) >= 1 for machine in machines)
    )


def cores_of_worker(scale: ScaleConfig, machines: Sequence[Machine], workers: int) -> int:
    """Return the CPU cores per worker: the configured number, or the most that all can have."""
    if scale.cpus_per_worker:
        return scale.cpus_per_worker
    return largest_share(*_cores(scale, machines), workers)


def workers_that_fit(scale: ScaleConfig, machines: Sequence[Machine], cores: int) -> int:
    """Count the workers with `cores` cores each that fit; no worker spans two nodes."""
    return num_shares(*_cores(scale, machines), cores)


def _cores(scale: ScaleConfig, machines: Sequence[Machine]) -> tuple[list[int], list[int]]:
    """Return the cores of each node, and the most workers that it can run."""
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    use_gpu = uses_gpus(scale, machines)
    return cores, [gpu_slots(scale, machine) for machine in machines] if use_gpu else cores


def gpu_slots(scale: ScaleConfig, machine: Machine) -> int:
    """Return the number of workers that a node has GPUs for."""
    return int(machine.get("GPU", 0)) * scale.workers_per_gpu


def largest_share(amounts: Sequence[int], most: Sequence[int], count: int) -> int:
    """Return the largest share of which `count` fit into the amounts (see `num_shares`), or 1."""
    candidates = sorted(
        {amount // parts for amount in set(amounts) for parts in range(1, count + 1)}, reverse=True
    )
    return next(
        (share for share in candidates if share and num_shares(amounts, most, share) >= count), 1
    )


def num_shares(amounts: Sequence[int], most: Sequence[int], share: int) -> int:
    """Count the shares that fit into the amounts, at most `most` per amount, none split."""
    return sum(min(amount // share, limit) for amount, limit in zip(amounts, most, strict=True))
