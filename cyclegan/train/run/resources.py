"""What a cluster's machines hold: how many workers, and what share of them each. Pure numbers."""

from collections.abc import Mapping, Sequence

from cyclegan.config.config import ScaleConfig

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
    return largest_share(*_cores(scale, machines), workers)


def places(scale: ScaleConfig, machines: Sequence[Machine], cores: int) -> int:
    """Workers with so many cores that fit; one lives on one machine, so halves make no whole."""
    return num_shares(*_cores(scale, machines), cores)


def _cores(scale: ScaleConfig, machines: Sequence[Machine]) -> tuple[list[int], list[int]]:
    """The cores of each machine, and how many workers it can have at most."""
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    use_gpu = on_gpus(scale, machines)
    return cores, [slots(scale, machine) for machine in machines] if use_gpu else cores


def slots(scale: ScaleConfig, machine: Machine) -> int:
    """Workers that a machine has GPUs for."""
    return int(machine.get("GPU", 0)) * scale.workers_per_gpu


def largest_share(amounts: Sequence[int], most: Sequence[int], count: int) -> int:
    """The largest share of which `count` fit into the amounts (see `num_shares`); or 1."""
    candidates = sorted(
        {amount // parts for amount in set(amounts) for parts in range(1, count + 1)}, reverse=True
    )
    return next(
        (share for share in candidates if share and num_shares(amounts, most, share) >= count), 1
    )


def num_shares(amounts: Sequence[int], most: Sequence[int], share: int) -> int:
    """Shares that fit into the amounts, none in two of them, and `most` into each."""
    return sum(min(amount // share, limit) for amount, limit in zip(amounts, most, strict=True))
