"""`cluster plan`: predict speed, time, network and storage demand, and cost of a run on N GPUs.

Inputs are the store's index and the FLOP count of the networks; the model is `cost_model`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from rich.box import SIMPLE
from rich.table import Table

from cluster.plan.assumptions import Assumptions
from cluster.plan.cost_model import SpeedForecast, forecast_speed
from cluster.plan.flops import ComputeCost, compute_cost_of
from cluster.plan.gpus import GB, GPUS
from cluster.plan.run_costs import cluster_of, overhead_of, step_cost_of, validation_s_of
from cyclegan.config.config import Config
from cyclegan.data.stream import steps_per_epoch
from cyclegan.errors import ConfigError
from cyclegan.train.batch_size import batch_for
from cyclegan.train.checkpoint.run_record import read_environment
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.training_plan import total_steps
from data_prep.store.store import Store
from mrct.progress import duration
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingPoint:
    """A run on N GPUs."""

    forecast: SpeedForecast
    efficiency: float
    """Pairs/s per GPU relative to a single GPU with as many pairs in a step."""
    global_batch: int
    epochs: float
    cost: float
    """Cost of the whole run."""

    @property
    def run_s(self) -> float:
        """Return the time of the whole run in seconds."""
        return self.epochs * self.forecast.epoch_s


def scaling_points(
    config: Config,
    store: Store,
    gpus: list[int],
    assumed: Assumptions,
    measured: float | None = None,
) -> Iterator[ScalingPoint]:
    """Predict the run on each number of GPUs, with at least as many shards as workers.

    `measured` is the time of one pair on one GPU, in seconds.
    """
    work = compute_cost_of(config, store.size)
    for count in gpus:
        yield scaling_point(config, store, count, assumed, work, measured)


def scaling_point(
    config: Config,
    store: Store,
    gpus: int,
    assumed: Assumptions,
    work: ComputeCost,
    measured: float | None = None,
) -> ScalingPoint:
    """Predict the run on one number of GPUs."""
    shards = max(config.batch.shards, gpus)
    config = replace(
        config,
        batch=replace(config.batch, shards=shards),
        scale=replace(config.scale, workers=gpus),
    )
    if assumed.batch == "auto":
        gpu_gib = GPUS[assumed.gpu].memory_gb * GB / 2**30
        config = replace(config, batch=batch_for(config, store, gpu_gib))
    step = step_cost_of(config, store, assumed, work, measured)
    overhead = overhead_of(config, store, validation_s_of(config, store, assumed, work))
    whole = forecast_speed(step, cluster_of(gpus, assumed), overhead)
    alone = forecast_speed(step, cluster_of(1, assumed), overhead)
    epochs = total_steps(config, store) / steps_per_epoch(store, config)
    return ScalingPoint(
        forecast=whole,
        efficiency=whole.pairs_per_s / gpus / alone.pairs_per_s,
        global_batch=config.batch.global_size,
        epochs=epochs,
        cost=assumed.price * gpus * epochs * whole.epoch_s / 3600,
    )


def measured_pair_s(run_folder: StoragePath) -> float:
    """Return the median time of a pair in a run on one GPU, without waiting for data.

    Raises:
        ConfigError: The folder contains no run that logged its speed, or a run of several workers.
    """
    facts = read_environment(run_folder) or {}
    lines = [line for line in read_lines(run_folder / METRICS) if "speed/step_ms" in line]
    if not lines or facts.get("workers") != 1:
        raise ConfigError(
            f"{run_folder} is not a run of one worker that logged its speed. A plan is based on "
            "the step time of a single worker. Train some steps with --scale.workers 1."
        )
    return float(
        median(
            (1 - line["speed/data_wait_percent"] / 100) / line["speed/pairs_per_s"]
            for line in lines
        )
    )


def scaling_table(points: list[ScalingPoint]) -> Table:
    """Return a table with a column for each number of GPUs."""
    result = Table("GPUs", box=SIMPLE)
    rows: dict[str, list[str]] = {}
    for each in points:
        result.add_column(f"{each.forecast.gpus:,}", justify="right")
        for name, cell in cells(each).items():
            rows.setdefault(name, []).append(cell)
    for name, values in rows.items():
        result.add_row(name, *values)
    return result


def cells(point: ScalingPoint) -> dict[str, str]:
    """Return the cells of one number of GPUs."""
    seen = point.forecast
    return {
        "Machines": f"{seen.nodes:,}",
        "Pairs per step": f"{point.global_batch:,}",
        "Step, ms": f"{1e3 * seen.step_s:.1f}",
        "  launching, ms": f"{1e3 * seen.launch_s:.1f}",
        "All-reduce, ms": f"{1e3 * seen.all_reduce_s:.2f}",
        "  not overlapped, ms": f"{1e3 * seen.exposed_s:.2f}",
        "Pairs/s": f"{seen.pairs_per_s:,.0f}",
        "Scaling efficiency": f"{100 * point.efficiency:.0f} %",
        "Bottleneck of the step": seen.bound,
        "Training's share of the clock": f"{100 * seen.training_share:.0f} %",
        "Time per epoch": duration(seen.epoch_s),
        "Time of the run": duration(point.run_s),
        "Reads from the store, MB/s": f"{seen.store_bytes_per_s / 1e6:,.0f}",
        "  requests/s": f"{seen.reads_per_s:,.0f}",
        "Network per machine, GB/s": f"{seen.network_bytes_per_s / GB:.1f}",
        "Cores for loading data": f"{seen.cores:.1f}",
    } | ({"Cost of the run": f"{point.cost:,.2f}"} if point.cost else {})


def source_text(name: str, assumed: Assumptions, measured: float | None) -> str:
    """Return the assumptions as text."""
    if measured:
        compute = f"{1e3 * measured:.2f} ms per pair, measured in the run"
    elif assumed.step_ms:
        compute = f"a measured step time of {assumed.step_ms:g} ms"
    else:
        peak = GPUS[assumed.gpu].tflops
        compute = f"{100 * assumed.utilisation:.0f} % of the peak of {peak:g} TFLOP/s"
    return (
        f"Preset {name} on {assumed.gpu}: {compute}; {assumed.launch_us:g} µs to launch a kernel; "
        f"{assumed.network_gbit:g} Gbit/s per machine at {100 * assumed.network_efficiency:.0f} %; "
        f"{assumed.cores_per_gpu:g} cores for data per GPU; {assumed.store_gb_per_s:g} GB/s from "
        f"the store; scores computed {assumed.scoring}. The model is described in "
        "docs/scale-model.md.\n"
        "More GPUs mean a larger batch, with at least one shard per GPU: learning rate and number "
        "of epochs have to be tuned again."
    )
