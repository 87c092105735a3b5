"""How many trials run side by side on a cluster, and what each gets. Pure numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cyclegan.config import ScaleConfig
from cyclegan.errors import ConfigError

Node = Mapping[str, float]
"""Resources of a machine: CPU, GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Where the trials fit."""

    concurrent: int
    cpus_per_worker: int
    use_gpu: bool
    leader_bytes: int
    """Memory that the process which leads a trial reserves, so that no more of them than
    `concurrent` fit at once. It only waits, so it is given no core; Tune has no other way to keep a
    population's members from all starting at once."""
    text: str
    """For people."""


def room_for(
    scale: ScaleConfig,
    nodes: Sequence[Node],
    trials: int,
    max_concurrent: int = 0,
    limits: Node = MappingProxyType({}),
) -> Room:
    """How many of `trials` run at once, at most `max_concurrent` if it is not 0.

    A worker lives on one machine. Trials on GPUs share those machines' CPU cores evenly; on CPUs
    alone one trial gets them all, or `max_concurrent` trials share them.

    Raises:
        ConfigError: Not even one trial fits; Ray would wait for ever.
    """
    has = f"{len(nodes)} machine{'s' * (len(nodes) > 1)}"
    if limits:
        nodes = [*nodes, {name: limits[name] - total(nodes, name) for name in limits}]
        has += " and those that the autoscaler adds"
    cpus, gpus = int(total(nodes, "CPU")), total(nodes, "GPU")
    use_gpu = scale.gpu == "yes" or (scale.gpu == "auto" and gpus > 0)
    most = min(trials, max_concurrent or trials)
    slots = [int(node.get("GPU", 0)) * scale.workers_per_gpu for node in nodes]
    wanted = min(most, sum(slots) // scale.workers) if use_gpu else min(most, max_concurrent or 1)
    hosts = [node for node in nodes if node.get("GPU", 0) or not use_gpu]
    cores = int(total(hosts, "CPU"))
    share = scale.cpus_per_worker or max(1, cores // (max(1, wanted) * scale.workers))
    if not use_gpu and not max_concurrent and scale.cpus_per_worker:
        wanted = most
    workers = sum(
        min(int(node.get("CPU", 0)) // share, slot if use_gpu else cpus)
        for node, slot in zip(nodes, slots, strict=True)
    )
    fit = min(wanted, workers // scale.workers)
    each = f"{scale.workers} worker{'s' * (scale.workers > 1)} with {share} CPU core" + "s" * (
        share > 1
    )
    if use_gpu:
        each += f" and {scale.gpus_per_worker:g} GPU"
    has = f"{cpus} CPU cores and {gpus:g} GPUs on {has}"
    if fit < 1:
        raise ConfigError(
            f"a trial needs {each}, which the cluster has no room for: it has {has}, and Ray would "
            "wait for ever. Lower --scale.workers, --scale.cpus-per-worker or "
            "--scale.gpus-per-worker, or add machines."
        )
    return Room(
        concurrent=fit,
        cpus_per_worker=share,
        use_gpu=use_gpu,
        leader_bytes=largest_share([int(node.get("memory", 0)) for node in nodes], fit),
        text=f"{fit} at once, each {each} ({has})",
    )


def total(nodes: Sequence[Node], name: str) -> float:
    """What all machines have of a resource."""
    return sum(node.get(name, 0) for node in nodes)


def largest_share(amounts: Sequence[int], count: int) -> int:
    """The largest share of which `count` fit into the amounts, no share in two of them."""
    candidates = sorted(
        {amount // parts for amount in amounts for parts in range(1, count + 1)}, reverse=True
    )
    return next(
        (
            share
            for share in candidates
            if share and sum(amount // share for amount in amounts) >= count
        ),
        1,
    )
