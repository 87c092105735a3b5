"""The work of a run, and the machines it runs on, in the terms of the cost model.

Derived from the run's settings, the store's index, the networks' FLOP and the assumptions.
"""

from cluster.plan.assumptions import Assumptions
from cluster.plan.cost_model import (
    BUCKET_BYTES,
    BackwardPass,
    Cluster,
    EpochOverhead,
    Every,
    Links,
    StepCost,
)
from cluster.plan.flops import ComputeCost
from cluster.plan.gpus import GB, GPUS
from cluster.plan.launches import launches_per_part
from cyclegan.config.config import Config
from cyclegan.data.stream import steps_per_epoch
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import num_parts
from cyclegan.train.periodic_events import AUTO_S, MAX_SHARE, Event, interval_of
from cyclegan.train.training_plan import make_plan
from cyclegan.train.validation.scores import validation_volumes
from data_prep.store.store import Store
from mrct.imaging.modality import MODALITIES, Modality

CPU_S_PER_PAIR = {"gpu": 700e-6, "cpu": 2050e-6}
"""CPU time of a pair of 256 x 256, by the device on which DALI warps (benchmarks/demand.py)."""
SLICE_PIXELS = 256 * 256
PASSES_OF_VALIDATION = 2
"""Number of generator passes of each slice in a cycle."""
BACK_TRANSLATIONS = 1 / 3
"""Share of the translations back among a step's passes through the generators. In the backward pass
they come first, and complete no gradient."""
SCORING_S_PER_VOXEL: dict[Modality, float] = {"mri": 2.7e-7, "ct": 0.5e-7}
"""CPU time of one core to score a volume: 2.8 s for an MRI with a real CT and 0.55 s for a CT, of
160 x 256 x 256 each (benchmarks/scoring.py)."""


def step_cost_of(
    config: Config,
    store: Store,
    assumed: Assumptions,
    work: ComputeCost,
    measured: float | None = None,
) -> StepCost:
    """Return the work of the busiest worker."""
    pairs = config.batch.shard_size * len(config.batch.shards_of(0, config.scale.workers))
    parts = num_parts(config, Worker(world_size=config.scale.workers))
    peak = GPUS[assumed.gpu].tflops * 1e12
    rows, columns = store.size
    return StepCost(
        pairs=pairs,
        batch=config.batch.global_size,
        compute_s=pairs * (measured or 0.0)
        or assumed.step_ms / 1e3
        or pairs * work.flop_per_pair / (peak * assumed.utilisation),
        launch_s=0.0
        if assumed.step_ms and not measured
        else 1e-6 * assumed.launch_us * launches_per_part(config) * parts,
        backward=backward_passes(config, work, parts),
        pair_bytes=2 * slice_bytes(store),
        data_cpu_s=CPU_S_PER_PAIR["gpu"] * rows * columns / SLICE_PIXELS,
    )


def backward_passes(config: Config, work: ComputeCost, parts: int) -> tuple[BackwardPass, ...]:
    """Return the passes of both updates; the last of the parts of a step sends the gradients."""
    beside = 0.0 if config.train.deterministic else 1 / parts
    return (
        BackwardPass(
            gradient_bytes=work.generator_bytes,
            share=beside * work.generator_backward,
            incomplete=BACK_TRANSLATIONS,
            late_bytes=BUCKET_BYTES if config.train.compile == "all" else 0,
        ),
        BackwardPass(
            gradient_bytes=work.discriminator_bytes, share=beside * work.discriminator_backward
        ),
    )


def cluster_of(gpus: int, assumed: Assumptions) -> Cluster:
    """Return the machines of the run."""
    gpu = GPUS[assumed.gpu]
    return Cluster(
        gpus=gpus,
        gpus_per_node=assumed.gpus_per_node or gpu.per_node,
        links=Links(
            node_bytes_per_s=gpu.link_gb_per_s * GB * assumed.network_efficiency,
            network_bytes_per_s=assumed.network_gbit / 8 * GB * assumed.network_efficiency,
        ),
        cores_per_gpu=assumed.cores_per_gpu,
        store_bytes_per_s=assumed.store_gb_per_s * GB,
        write_bytes_per_s=assumed.write_gb_per_s * GB,
    )


def overhead_of(config: Config, store: Store, validation_s: float) -> EpochOverhead:
    """Return the checkpoints of an epoch, and its validations of so many seconds each."""
    return EpochOverhead(
        steps=steps_per_epoch(store, config),
        checkpoint_bytes=make_plan(config, store).checkpoint_bytes,
        checkpoint_every=every_of(config, "save", AUTO_S["save"]),
        validation_s=validation_s,
        validation_every=every_of(
            config, "validate", max(AUTO_S["validate"], validation_s * (1 / MAX_SHARE - 1))
        ),
    )


def validation_s_of(config: Config, store: Store, assumed: Assumptions, work: ComputeCost) -> float:
    """Return how long a validation holds the training: the time of the busiest worker."""
    flop_per_s = GPUS[assumed.gpu].tflops * 1e12 * assumed.utilisation
    slice_s = PASSES_OF_VALIDATION * work.flop_per_translation / flop_per_s
    rows, columns = store.size
    scored_pixels = rows * columns * (assumed.scoring == "inline")
    times_s = [
        volume.shape[0] * (slice_s + scored_pixels * SCORING_S_PER_VOXEL[modality])
        for modality in MODALITIES
        for volume in validation_volumes(store, modality, "val", config)
    ]
    workers = config.scale.workers
    return max((sum(times_s[rank::workers]) for rank in range(workers)), default=0.0)


def every_of(config: Config, event: Event, auto_s: float) -> Every:
    """Return the interval between events of a run, of which `auto` means so many seconds."""
    interval = interval_of(config, event)
    match interval.unit:
        case "auto":
            return Every(seconds=auto_s)
        case "seconds":
            return Every(seconds=interval.amount)
        case "steps":
            return Every(steps=interval.amount)
        case "pairs":
            return Every(steps=interval.amount / config.batch.global_size)
        case "never":
            return Every()


def slice_bytes(store: Store) -> float:
    """Return the compressed bytes of a slice with its mask, averaged over the store."""
    column = store.volumes.column
    return float(column("bytes").sum() / column("shape")[:, 0].sum())
