"""The cost model of a run on N GPUs: pure arithmetic, in seconds and bytes.

step        = max(computing + exposed all-reduce, data)
computing   = the longer of two: the GPU's, pairs of a worker x FLOP per pair / (peak x
              utilisation), or as measured; and the host's, kernels x time to launch one
all-reduce  = of each bucket, one after the other: ring or tree over the nodes, after a ring inside
              each (see `all_reduce_s`)
exposed     = what is still to be sent when a backward pass ends (see `exposed_s`)
data        = processor time of a pair over the cores that a worker has for it, and the bytes of
              its slices over the worker's share of the store's bandwidth
epoch       = steps x step + checkpoints + validations
checkpoint  = a copy to host memory; written beside the training, unless that takes longer than the
              time until the next one
"""

from dataclasses import dataclass
from math import ceil, inf, log2

FIRST_BUCKET_BYTES, BUCKET_BYTES = 2**20, 25 * 2**20
"""Sizes at which DDP closes a bucket of gradients and sends it."""
COPY_BYTES_PER_S = 20e9
"""Copying from a GPU to pinned memory: PCIe 4.0 x16 by its specification has 31.5e9."""
READS_PER_PAIR = 4
"""Reads per pair: image and mask of an MRI and of a CT slice; the chunk tables of shards are
cached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """The links that gradients are sent over."""

    node_bytes_per_s: float
    """Bandwidth between the GPUs of a machine, for each of them."""
    network_bytes_per_s: float
    """Network bandwidth of a machine, over all its network cards."""
    latency_s: float = 10e-6
    """Latency of one hop, including the kernel launch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The machines of a run."""

    gpus: int
    gpus_per_node: int
    links: Links
    cores_per_gpu: float
    """Cores per worker for loading data, besides that of its main thread."""
    store_bytes_per_s: float
    """Bandwidth of the storage over all readers."""
    write_bytes_per_s: float
    """Bandwidth of the one worker that writes a checkpoint."""

    @property
    def nodes(self) -> int:
        """Machines."""
        return ceil(self.gpus / self.gpus_per_node)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackwardPass:
    """A backward pass, during which workers exchange the gradients of one optimizer."""

    gradient_bytes: int
    share: float
    """Share of the step's computing that the pass takes; 0 if the same processors compute and
    send."""
    incomplete: float = 0.0
    """Share of the pass after which the first gradient is complete: where the forward pass uses
    each weight again, only the first use, which comes last, completes its gradient."""
    late_bytes: int = 0
    """What a gradient waits for beyond its own: compiled under DDP, a pass runs in pieces of a
    bucket, and has the gradients of a piece at its end."""

    def buckets(self) -> list[int]:
        """Return the bytes of the buckets, in the order in which they are sent."""
        sizes, rest, limit = [], self.gradient_bytes, FIRST_BUCKET_BYTES
        while rest > 0:
            sizes.append(min(rest, limit))
            rest, limit = rest - sizes[-1], BUCKET_BYTES
        return sizes

    def done_at(self, complete_bytes: int) -> float:
        """Return the share of the pass after which so many bytes of gradients are complete.

        They come evenly after `incomplete`, as tests/cluster/plan/test_backward_pass.py measures.
        """
        evenly = min(1.0, (complete_bytes + self.late_bytes) / self.gradient_bytes)
        return self.incomplete + (1 - self.incomplete) * evenly


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """The work of one worker in a step."""

    pairs: int
    """Pairs of the busiest worker."""
    compute_s: float
    """Time that the GPU computes."""
    backward: tuple[BackwardPass, ...]
    pair_bytes: float
    """Size of the compressed slices of a pair, with their masks."""
    data_cpu_s: float
    """CPU time to load one pair."""
    launch_s: float = 0.0
    """Time that the host needs to launch the kernels of a step, however many pairs it has."""
    batch: float = inf
    """Pairs of all workers; if the number of shards is no multiple of that of workers, fewer than
    workers times the pairs of the busiest."""
    data_beside: bool = True
    """Whether data is loaded while the step computes; False if both use the same cores."""

    @property
    def computing_s(self) -> float:
        """Time of a step without waiting: of the GPU, or of the host that keeps it busy."""
        return max(self.compute_s, self.launch_s)

    @property
    def gradient_bytes(self) -> int:
        """Gradients of a step."""
        return sum(each.gradient_bytes for each in self.backward)


@dataclass(frozen=True, kw_only=True, slots=True)
class Every:
    """An interval between events, by steps or by time; the shorter one counts."""

    steps: float = inf
    seconds: float = inf

    def count(self, steps: int, step_s: float) -> float:
        """Return the number of events in some steps."""
        return max(steps / self.steps, steps * step_s / self.seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochOverhead:
    """The work of an epoch besides steps."""

    steps: int
    """Optimizer steps of an epoch."""
    checkpoint_bytes: int
    checkpoint_every: Every
    validation_s: float
    """How long one validation holds the training."""
    validation_every: Every


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedForecast:
    """The predicted speed and demand."""

    gpus: int
    nodes: int
    step_s: float
    launch_s: float
    all_reduce_s: float
    exposed_s: float
    data_s: float
    pairs_per_s: float
    """Speed during steps, without checkpoints and validations."""
    epoch_s: float
    training_share: float
    """Share of the epoch that is neither validation nor saving."""
    store_bytes_per_s: float
    reads_per_s: float
    network_bytes_per_s: float
    """Network traffic of each machine for gradients, averaged over a step."""
    cores: float
    """CPU cores that loading data keeps busy, over all machines."""

    @property
    def bound(self) -> str:
        """Return the bottleneck of the step."""
        if self.data_s > self.step_s - 1e-12:
            return "data"
        if self.exposed_s > 0.1 * self.step_s:
            return "all-reduce"
        return "launches" if self.launch_s + self.exposed_s > self.step_s - 1e-12 else "compute"


def all_reduce_s(size_bytes: float, workers: int, bytes_per_s: float, latency_s: float) -> float:
    """Return the time of an all-reduce of a gradient over workers.

    The better of a ring, 2 (n - 1) / n x bytes / bandwidth + 2 (n - 1) x latency (Patarasu and Yuan
    2009), and a double binary tree, 2 x bytes / bandwidth + 2 log2 n x latency (Sanders, Speck and
    Traeff 2009), as NCCL chooses.
    """
    if workers < 2:
        return 0.0
    ring = 2 * (workers - 1) / workers * size_bytes / bytes_per_s + 2 * (workers - 1) * latency_s
    tree = 2 * size_bytes / bytes_per_s + 2 * ceil(log2(workers)) * latency_s
    return min(ring, tree)


def all_reduce_of(size_bytes: float, cluster: Cluster) -> float:
    """Return the time of an all-reduce inside each machine, then between machines."""
    links = cluster.links
    inside = min(cluster.gpus, cluster.gpus_per_node)
    return all_reduce_s(size_bytes, inside, links.node_bytes_per_s, links.latency_s) + all_reduce_s(
        size_bytes, cluster.nodes, links.network_bytes_per_s, links.latency_s
    )


def exposed_s(backward: BackwardPass, computing_s: float, cluster: Cluster) -> float:
    """Return how long a step waits for gradients after a backward pass.

    Buckets are sent one after the other, each when its gradients are complete and the one before
    has been sent.
    """
    pass_s = backward.share * computing_s
    complete_bytes, sent_s = 0, 0.0
    for size_bytes in backward.buckets():
        complete_bytes += size_bytes
        ready_s = pass_s * backward.done_at(complete_bytes)
        sent_s = max(sent_s, ready_s) + all_reduce_of(size_bytes, cluster)
    return sent_s - pass_s


def forecast_speed(step: StepCost, cluster: Cluster, overhead: EpochOverhead) -> SpeedForecast:
    """Combine the parts of the model into a forecast."""
    whole = sum(all_reduce_of(size, cluster) for each in step.backward for size in each.buckets())
    exposed = sum(exposed_s(each, step.computing_s, cluster) for each in step.backward)
    made = step.pairs * step.data_cpu_s / cluster.cores_per_gpu
    in_all = min(step.pairs * cluster.gpus, step.batch)
    fetched = in_all * step.pair_bytes / cluster.store_bytes_per_s
    if step.data_beside:
        step_s = max(step.computing_s + exposed, made, fetched)
    else:
        step_s = max(step.computing_s + exposed + made, fetched)
    rate = in_all / step_s
    looks = overhead.validation_every.count(overhead.steps, step_s)
    saves = max(looks, overhead.checkpoint_every.count(overhead.steps, step_s))
    write_s = saves * overhead.checkpoint_bytes / cluster.write_bytes_per_s
    saving_s = max(
        saves * overhead.checkpoint_bytes / COPY_BYTES_PER_S, write_s - overhead.steps * step_s
    )
    trained_s = overhead.steps * step_s
    epoch_s = trained_s + saving_s + looks * overhead.validation_s
    return SpeedForecast(
        gpus=cluster.gpus,
        nodes=cluster.nodes,
        step_s=step_s,
        launch_s=step.launch_s,
        all_reduce_s=whole,
        exposed_s=exposed,
        data_s=max(made, fetched) if step.data_beside else fetched,
        pairs_per_s=rate,
        epoch_s=epoch_s,
        training_share=trained_s / epoch_s,
        store_bytes_per_s=rate * step.pair_bytes,
        reads_per_s=rate * READS_PER_PAIR,
        network_bytes_per_s=2 * step.gradient_bytes / step_s if cluster.nodes > 1 else 0.0,
        cores=rate * step.data_cpu_s,
    )
