"""Ten times as many volumes take no more memory; benchmarks/growth.py measures the time too."""

import tracemalloc

import numpy as np

from cyclegan.config.config import BatchConfig, DataConfig
from cyclegan.data.sampler import Order
from cyclegan.data.slice_index import SliceTable

DEPTH = 30
STEPS = 10


def order_of(num_volumes: int) -> Order:
    """As of a store with `num_volumes` of each modality."""
    depth = np.full(num_volumes, DEPTH)
    shown = np.ones(num_volumes * DEPTH, bool)
    table = SliceTable.of_volumes(shown, depth, lowest=0.0 * depth, highest=depth - 1.0)
    columns = (table.volume, table.first, table.lowest, table.highest, table.end)
    assert sum(column.nbytes for column in columns) == 24 * num_volumes
    return Order(
        mri=table,
        ct=table,
        seed=0,
        batch=BatchConfig(shards=8, shard_size=4),
        partner="position",
        augment=DataConfig(),
    )


def peak_bytes(order: Order) -> int:
    """Memory that STEPS batches from anywhere in the run take beside the tables."""
    steps = np.random.default_rng(0).integers(10**6, size=STEPS).tolist()
    tracemalloc.start()
    for step in steps:
        order.samples(order.indices(step, range(8)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_batch_among_a_hundred_thousand_volumes_takes_the_memory_of_one_among_ten_thousand() -> (
    None
):
    few, many = peak_bytes(order_of(10_000)), peak_bytes(order_of(100_000))

    assert many < 1.1 * few < 1_000_000  # no permutation, no sorted copy
