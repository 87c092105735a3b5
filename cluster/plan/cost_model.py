"""The speed of a run on N GPUs, from a stated model: pure arithmetic, in seconds and bytes.

step        = max(compute + exposed all-reduce, data)
compute     = pairs of a worker x FLOP per pair / (peak x utilisation), or as measured
all-reduce  = ring or tree over the nodes, after a ring inside each (see `all_reduce_s`)
exposed     = what backward does not cover: the last bucket, and what is longer than `overlap`
              of the compute time
data        = processor time of a pair over the cores that a worker has for it, and the bytes of
              its slices over the worker's share of the store's bandwidth
epoch       = steps x step + checkpoints + validations
"""

from dataclasses import dataclass
from math import ceil, inf, log2

BUCKET_BYTES = 25 * 2**20
"""DDP's: the last one starts when backward has ended."""
READS_PER_PAIR = 4
"""Image and mask of an MRI and of a CT slice; their shards' chunk tables are cached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """What gradients travel over."""

    node_bytes_per_s: float
    """Between the GPUs of a machine, for each of them."""
    network_bytes_per_s: float
    """Of a machine, all its cards together."""
    latency_s: float = 10e-6
    """Of one hop, with the launch of what it carries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The machines of a run."""

    gpus: int
    gpus_per_node: int
    links: Links
    cores_per_gpu: float
    """For data, beside what a worker's own thread needs."""
    store_bytes_per_s: float
    """What the storage gives to all readers together."""
    write_bytes_per_s: float
    """Of the one worker that writes a checkpoint."""

    @property
    def nodes(self) -> int:
        """Machines."""
        return ceil(self.gpus / self.gpus_per_node)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a worker does in one."""

    pairs: int
    """Of the busiest worker."""
    compute_s: float
    gradient_bytes: int
    pair_bytes: float
    """Compressed slices of a pair, with their masks."""
    data_cpu_s: float
    """Processor time to make one pair."""
    overlap: float = 0.5
    """Share of compute behind which gradients travel: backward takes two thirds of it, and the
    first bucket is full some way into it. 0 where processors that compute also carry."""
    batch: float = inf
    """Pairs of all workers: fewer than all would have if each had as many as the busiest, where
    shards do not divide by workers."""
    data_beside: bool = True
    """Whether data is made while the step computes; not where both want the same cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """An epoch's other work."""

    steps: int
    """Optimizer steps of an epoch."""
    checkpoint_bytes: int
    steps_per_checkpoint: int
    """0: none."""
    validation_s: float
    """Of one validation by one worker. More share its volumes, so this is an upper bound."""
    steps_per_validation: int
    """0: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What comes out."""

    gpus: int
    nodes: int
    step_s: float
    all_reduce_s: float
    exposed_s: float
    data_s: float
    pairs_per_s: float
    """In steps; without checkpoints and validations."""
    epoch_s: float
    store_bytes_per_s: float
    reads_per_s: float
    network_bytes_per_s: float
    """Of each machine, for gradients, on average over a step."""
    cores: float
    """All processor cores that data keeps busy."""

    @property
    def bound(self) -> str:
        """What the step waits for."""
        if self.data_s > self.step_s - 1e-12:
            return "data"
        return "all-reduce" if self.exposed_s > 0.1 * self.step_s else "compute"


def all_reduce_s(size_bytes: float, workers: int, bytes_per_s: float, latency_s: float) -> float:
    """Time to add a gradient up over workers and give all the sum.

    The better of a ring, 2 (n - 1) / n x bytes / bandwidth + 2 (n - 1) x latency (Patarasu and Yuan
    2009), and a double binary tree, 2 x bytes / bandwidth + 2 log2 n x latency (Sanders, Speck and
    Traeff 2009), as NCCL chooses.
    """
    if workers < 2:
        return 0.0
    ring = 2 * (workers - 1) / workers * size_bytes / bytes_per_s + 2 * (workers - 1) * latency_s
    tree = 2 * size_bytes / bytes_per_s + 2 * ceil(log2(workers)) * latency_s
    return min(ring, tree)


def all_reduce_of(size_bytes: float, site: Site) -> float:
    """Inside each machine, then between the machines."""
    links = site.links
    inside = min(site.gpus, site.gpus_per_node)
    return all_reduce_s(size_bytes, inside, links.node_bytes_per_s, links.latency_s) + all_reduce_s(
        size_bytes, site.nodes, links.network_bytes_per_s, links.latency_s
    )


def forecast(step: Step, site: Site, rhythm: Rhythm) -> Forecast:
    """Put the parts together."""
    whole = all_reduce_of(step.gradient_bytes, site)
    last = all_reduce_of(min(step.gradient_bytes, BUCKET_BYTES), site)
    exposed = max(last, whole - step.overlap * step.compute_s)
    made = step.pairs * step.data_cpu_s / site.cores_per_gpu
    in_all = min(step.pairs * site.gpus, step.batch)
    fetched = in_all * step.pair_bytes / site.store_bytes_per_s
    if step.data_beside:
        step_s = max(step.compute_s + exposed, made, fetched)
    else:
        step_s = max(step.compute_s + exposed + made, fetched)
    rate = in_all / step_s
    saves = rhythm.steps / rhythm.steps_per_checkpoint if rhythm.steps_per_checkpoint else 0.0
    looks = rhythm.steps / rhythm.steps_per_validation if rhythm.steps_per_validation else 0.0
    return Forecast(
        gpus=site.gpus,
        nodes=site.nodes,
        step_s=step_s,
        all_reduce_s=whole,
        exposed_s=exposed,
        data_s=max(made, fetched) if step.data_beside else fetched,
        pairs_per_s=rate,
        epoch_s=rhythm.steps * step_s
        + saves * rhythm.checkpoint_bytes / site.write_bytes_per_s
        + looks * rhythm.validation_s,
        store_bytes_per_s=rate * step.pair_bytes,
        reads_per_s=rate * READS_PER_PAIR,
        network_bytes_per_s=2 * step.gradient_bytes / step_s if site.nodes > 1 else 0.0,
        cores=rate * step.data_cpu_s,
    )
