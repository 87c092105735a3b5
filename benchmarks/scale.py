"""The table of docs/scale-model.md: `cluster plan`'s model of `default` on up to 1,000 H100.

python -m benchmarks.scale [--write]
"""

import argparse
import tempfile
from dataclasses import replace

from benchmarks.pages import markdown, write_block
from cluster.plan.assumptions import Assumptions
from cluster.plan.cost_model import EpochOverhead, Every, SpeedForecast, forecast_speed
from cluster.plan.flops import ComputeCost, compute_cost_of
from cluster.plan.run_costs import cluster_of, step_cost_of
from cyclegan.config.presets import default
from data_prep.store.store import Store
from mrct.storage.local_path import LocalPath
from tests.support.stores import make_store

PAGE, BLOCK = "scale-model.md", "scale"
SIZE = (256, 256)
SLICE_BYTES = 62_000
"""Compressed slice with its mask, of noisy test heads."""
CASES = [
    (1, 2, 400),
    (1, 8, 400),
    (8, 2, 400),
    (8, 8, 400),
    (64, 2, 400),
    (64, 8, 100),
    (64, 8, 400),
    (1000, 2, 400),
    (1000, 8, 400),
    (1000, 8, 3200),
]
"""GPUs, pairs of a GPU in a step, and Gbit/s of a machine."""
STEPS_ALONE = EpochOverhead(
    steps=1,
    checkpoint_bytes=0,
    checkpoint_every=Every(),
    validation_s=0.0,
    validation_every=Every(),
)
HEADER = [
    "GPUs",
    "pairs of a GPU in a step",
    "Gbit/s of a machine",
    "step, ms",
    "launching, ms",
    "waited for gradients, ms",
    "pairs/s",
    "of one GPU",
    "store, GB/s",
    "requests/s",
]


def forecast(store: Store, work: ComputeCost, gpus: int, pairs: int, gbit: float) -> SpeedForecast:
    """One row, where storage is not the limit."""
    assumed = Assumptions(network_gbit=gbit, store_gb_per_s=1e6)
    base = default()
    config = replace(
        base,
        batch=replace(base.batch, shards=gpus, shard_size=pairs),
        scale=replace(base.scale, workers=gpus),
    )
    step = replace(step_cost_of(config, store, assumed, work), pair_bytes=2 * SLICE_BYTES)
    return forecast_speed(step, cluster_of(gpus, assumed), STEPS_ALONE)


def scale_table(work: ComputeCost) -> str:
    """Return the table; `work` is counted for `default` and slices of SIZE."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(LocalPath(folder) / "s.zarr", mri=1, ct=1, shape=(2, *SIZE))
        for gpus, pairs, gbit in CASES:
            seen = forecast(store, work, gpus, pairs, gbit)
            alone = forecast(store, work, 1, pairs, gbit).pairs_per_s
            rows.append(
                [
                    f"{gpus:,}",
                    f"{pairs}",
                    f"{gbit:,}" if seen.nodes > 1 else "",
                    f"{1e3 * seen.step_s:.1f}",
                    f"{1e3 * seen.launch_s:.1f}",
                    f"{1e3 * seen.exposed_s:.1f}",
                    f"{seen.pairs_per_s:,.0f}",
                    f"{100 * seen.pairs_per_s / gpus / alone:.0f} %",
                    f"{seen.store_bytes_per_s / 1e9:.2f}",
                    f"{seen.reads_per_s:,.0f}",
                ]
            )
    return markdown(HEADER, rows)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE}")
    table = scale_table(compute_cost_of(default(), SIZE))
    if parser.parse_args().write:
        write_block(PAGE, BLOCK, table)
    print(table)


if __name__ == "__main__":
    main()
