"""`cluster plan`: what a run would be on N GPUs: speed, time, demand on network and storage, cost.

It reads the store's index and counts the networks' arithmetic; the rest is `model`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from rich.box import SIMPLE
from rich.table import Table

from cluster.plan.assumptions import Assumptions
from cluster.plan.cost_model import Forecast, Links, Rhythm, Site, Step, forecast
from cluster.plan.flops import Work, work_of
from cluster.plan.gpus import GB, GPUS
from cyclegan.config.config import Config
from cyclegan.data.stream import steps_per_epoch
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint.run_record import recorded
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.training_plan import make_plan, total_steps
from data_prep.store.store import Store
from mrct.imaging.volume import MODALITIES
from mrct.progress import duration
from mrct.storage.paths import StoragePath

CPU_S_PER_PAIR = {"gpu": 700e-6, "cpu": 2050e-6}
"""Processor time of a pair of 256 x 256, by where DALI warps: benchmarks/demand.py."""
SLICE_PIXELS = 256 * 256
PASSES_OF_VALIDATION = 2
"""There and back, for each slice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prospect:
    """A run on N GPUs."""

    forecast: Forecast
    efficiency: float
    """Pairs/s of a GPU against those of one alone with as many pairs in a step."""
    global_batch: int
    epochs: float
    cost: float
    """Of the whole run."""

    @property
    def run_s(self) -> float:
        """Of the whole run."""
        return self.epochs * self.forecast.epoch_s


def prospects(
    config: Config,
    store: Store,
    gpus: list[int],
    assumed: Assumptions,
    measured: float | None = None,
) -> Iterator[Prospect]:
    """The run on each number of GPUs, with as many shards as workers where it has fewer.

    `measured` is the time of one pair on one GPU, in seconds.
    """
    work = work_of(config, store.size)
    for count in gpus:
        yield prospect(config, store, count, assumed, work, measured)


def prospect(
    config: Config,
    store: Store,
    gpus: int,
    assumed: Assumptions,
    work: Work,
    measured: float | None = None,
) -> Prospect:
    """The run on one number of GPUs."""
    shards = max(config.batch.shards, gpus)
    config = replace(
        config,
        batch=replace(config.batch, shards=shards),
        scale=replace(config.scale, workers=gpus),
    )
    step = step_of(config, store, assumed, work, measured)
    whole = forecast(step, site_of(gpus, assumed), rhythm_of(config, store, assumed, work))
    alone = forecast(step, site_of(1, assumed), rhythm_of(config, store, assumed, work))
    epochs = total_steps(config, store) / steps_per_epoch(store, config)
    return Prospect(
        forecast=whole,
        efficiency=whole.pairs_per_s / gpus / alone.pairs_per_s,
        global_batch=config.batch.global_size,
        epochs=epochs,
        cost=assumed.price * gpus * epochs * whole.epoch_s / 3600,
    )


def measured_pair_s(run_folder: StoragePath) -> float:
    """The time of a pair in a run on one GPU, without what it waited for data; the median line.

    Raises:
        ConfigError: The folder holds no run that logged its speed, or one of several workers.
    """
    facts = recorded(run_folder) or {}
    lines = [line for line in read_lines(run_folder / METRICS) if "speed/step_ms" in line]
    if not lines or facts.get("workers") != 1:
        raise ConfigError(
            f"{run_folder} is no run of one worker that logged its speed: a plan begins with the "
            "time that a step takes without neighbours. Train some steps with --scale.workers 1."
        )
    return float(
        median(
            (1 - line["speed/data_wait_percent"] / 100) / line["speed/pairs_per_s"]
            for line in lines
        )
    )


def step_of(
    config: Config, store: Store, assumed: Assumptions, work: Work, measured: float | None = None
) -> Step:
    """What the busiest worker does."""
    pairs = config.batch.shard_size * len(config.batch.shards_of(0, config.scale.workers))
    peak = GPUS[assumed.gpu].tflops * 1e12
    rows, columns = store.size
    return Step(
        pairs=pairs,
        batch=config.batch.global_size,
        compute_s=pairs * (measured or 0.0)
        or assumed.step_ms / 1e3
        or pairs * work.flop_per_pair / (peak * assumed.utilisation),
        gradient_bytes=work.translator_bytes + work.critic_bytes,
        pair_bytes=2 * slice_bytes(store),
        data_cpu_s=CPU_S_PER_PAIR["gpu"] * rows * columns / SLICE_PIXELS,
    )


def site_of(gpus: int, assumed: Assumptions) -> Site:
    """The machines."""
    gpu = GPUS[assumed.gpu]
    return Site(
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


def rhythm_of(config: Config, store: Store, assumed: Assumptions, work: Work) -> Rhythm:
    """Checkpoints and validations of an epoch."""
    most = config.schedule.validate_volumes or None
    shown = sum(int(store.select(modality, "val")[:most].depths.sum()) for modality in MODALITIES)
    flop = PASSES_OF_VALIDATION * shown * work.flop_per_translation
    return Rhythm(
        steps=steps_per_epoch(store, config),
        checkpoint_bytes=make_plan(config, store).checkpoint_bytes,
        steps_per_checkpoint=config.schedule.save_every_steps,
        validation_s=flop / (GPUS[assumed.gpu].tflops * 1e12 * assumed.utilisation),
        steps_per_validation=config.schedule.validate_every_steps,
    )


def slice_bytes(store: Store) -> float:
    """Compressed bytes of a slice with its mask, on average over the store."""
    column = store.volumes.column
    return float(column("bytes").sum() / column("shape")[:, 0].sum())


def table(prospects: list[Prospect]) -> Table:
    """A column for each number of GPUs."""
    result = Table("GPUs", box=SIMPLE)
    rows: dict[str, list[str]] = {}
    for each in prospects:
        result.add_column(f"{each.forecast.gpus:,}", justify="right")
        for name, cell in cells(each).items():
            rows.setdefault(name, []).append(cell)
    for name, values in rows.items():
        result.add_row(name, *values)
    return result


def cells(prospect: Prospect) -> dict[str, str]:
    """What is shown of one number of GPUs."""
    seen = prospect.forecast
    return {
        "machines": f"{seen.nodes:,}",
        "pairs in a step": f"{prospect.global_batch:,}",
        "step, ms": f"{1e3 * seen.step_s:.1f}",
        "all-reduce, ms": f"{1e3 * seen.all_reduce_s:.2f}",
        "  of it waited for, ms": f"{1e3 * seen.exposed_s:.2f}",
        "pairs/s": f"{seen.pairs_per_s:,.0f}",
        "scaling efficiency": f"{100 * prospect.efficiency:.0f} %",
        "the step waits for": seen.bound,
        "an epoch": duration(seen.epoch_s),
        "the run": duration(prospect.run_s),
        "from the store, MB/s": f"{seen.store_bytes_per_s / 1e6:,.0f}",
        "  requests/s": f"{seen.reads_per_s:,.0f}",
        "network of a machine, GB/s": f"{seen.network_bytes_per_s / GB:.1f}",
        "cores busy with data": f"{seen.cores:.1f}",
    } | ({"cost of the run": f"{prospect.cost:,.2f}"} if prospect.cost else {})


def told(name: str, assumed: Assumptions, measured: float | None) -> str:
    """What the numbers rest on."""
    if measured:
        compute = f"{1e3 * measured:.2f} ms a pair, as the run measured"
    elif assumed.step_ms:
        compute = f"a step of {assumed.step_ms:g} ms, as you measured"
    else:
        peak = GPUS[assumed.gpu].tflops
        compute = f"{100 * assumed.utilisation:.0f} % of the peak of {peak:g} TFLOP/s"
    return (
        f"preset {name} on {assumed.gpu}: {compute}; {assumed.network_gbit:g} Gbit/s a machine at "
        f"{100 * assumed.network_efficiency:.0f} %; {assumed.cores_per_gpu:g} cores for data per "
        f"GPU; {assumed.store_gb_per_s:g} GB/s from the store. The model: docs/scale-model.md.\n"
        "More GPUs mean a larger batch, shards of it one per GPU: learning rate and number of "
        "epochs are yours to find again."
    )
