"""What a cluster's machines hold: how many workers, and what share of them each. Pure numbers."""

from collections.abc import Mapping, Sequence

from cyclegan.config import ScaleConfig

Machine = Mapping[str, float]
"""Resources of a machine, by Ray's names: CPU, GPU, memory."""


def on_gpus(scale: ScaleConfig, machines: Sequence[Machine]) -> bool:
    """Whether workers get GPUs."""
    return scale.gpu == "yes" or (
        scale.gpu == "auto" and any(machine.get("GPU", 0) >= 1 for machine in machines)
    )


def cores_of_worker(scale: ScaleConfig, machines: Sequence[Machine], workers: int) -> int:
    """Processor cores that each of so many workers gets: as asked for, or the most that all can."""
    if scale.cpus_per_worker:
        return scale.cpus_per_worker
    use_gpu = on_gpus(scale, machines)
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    most = [slots(scale, machine) for machine in machines] if use_gpu else None
    return largest_share(cores, workers, most)


def places(scale: ScaleConfig, machines: Sequence[Machine], cores: int) -> int:
    """Workers with so many cores that fit; one lives on one machine, so halves make no whole."""
    use_gpu = on_gpus(scale, machines)
    return sum(
        min(int(machine.get("CPU", 0)) // cores, slots(scale, machine))
        if use_gpu
        else int(machine.get("CPU", 0)) // cores
        for machine in machines
    )


def slots(scale: ScaleConfig, machine: Machine) -> int:
    """Workers that a machine has GPUs for."""
    return int(machine.get("GPU", 0)) * scale.workers_per_gpu


def largest_share(amounts: Sequence[int], count: int, most: Sequence[int] | None = None) -> int:
    """The largest share of which `count` fit into the amounts, no share in two of them; or 1.

    `most` limits how many each amount is divided into.
    """
    limits = [count] * len(amounts) if most is None else most
    candidates = sorted(
        {amount // parts for amount in set(amounts) for parts in range(1, count + 1)}, reverse=True
    )
    return next(
        (
            share
            for share in candidates
            if share
            and sum(min(a // share, limit) for a, limit in zip(amounts, limits, strict=True))
            >= count
        ),
        1,
    )
