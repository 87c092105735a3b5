"""From a store and a config to the endless stream of batches of one worker.

It puts order, reader and pipeline together and works a few steps ahead in one thread. It knows
nothing of networks, ranks or checkpoints: a worker says which shards it runs and where it starts.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import numpy as np
import torch

from cyclegan.config import Config
from cyclegan.data.batch import Batch
from cyclegan.data.domain import Domain, find_domain
from cyclegan.data.order import Order, Slices
from cyclegan.data.pipeline import BatchMaker, Outputs, StoredSlices, to_batch
from cyclegan.data.reader import SliceReader
from data_prep.split import Split
from data_prep.store import Store
from data_prep.volume import Modality

MODALITIES: tuple[Modality, ...] = ("mri", "ct")
STEPS_AHEAD = 2
"""Batches that wait ready while a step computes."""


def open_stream(
    store: Store,
    config: Config,
    split: Split,
    *,
    shards: range,
    start_step: int,
    device: torch.device,
) -> Generator[Batch, None, None]:
    """The batches of steps `start_step`, `start_step` + 1, ... for the given logical shards.

    A batch holds the shards' samples in the order of the shards. Slices are varied in the train
    split only. Closing the generator ends its thread.

    Raises:
        DataError: A domain has no slices; at once.
        StoreError: A volume is damaged; by the `next` whose batch needs it.
    """
    domains = _domains(store, config, split)
    order = _order(domains, config, split)
    reader = SliceReader(store, cache_bytes=int(config.data.cache_gib * 2**30))
    maker = BatchMaker(
        len(shards) * config.batch.shard_size,
        config.data.mri_contrast,
        threads=config.data.threads,
        device=device,
    )

    def read(modality: Modality, slices: Slices) -> StoredSlices:
        volumes = [domains[modality].volumes[number] for number in slices.volume]
        voxels, body = reader.read([v.name for v in volumes], slices.slice.tolist())
        low, high = np.array([v.window for v in volumes], np.float32).T.copy()
        gain = slices.variation.gain.astype(np.float32)
        matrix = slices.variation.matrices(store.size, store.spacing_mm[1:])
        return StoredSlices(
            voxels=voxels, body=body, matrix=matrix, low=low, scale=2 * gain / (high - low)
        )

    def run(step: int) -> Outputs:
        samples = order.samples(order.indices(step, shards))
        return maker.run(read("mri", samples.mri), read("ct", samples.ct))

    return _ahead(run, start_step)


def steps_per_epoch(store: Store, config: Config) -> int:
    """Optimizer steps that show every train slice of the larger domain at least once."""
    return _order(_domains(store, config, "train"), config, "train").steps_per_epoch


def _ahead(run: Callable[[int], Outputs], start_step: int) -> Generator[Batch, None, None]:
    """Call `run` for the steps to come in one thread; an error reaches the `next` of its step."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream")
    ready: deque[Future[Outputs]] = deque()
    try:
        for step in count(start_step):
            while len(ready) <= STEPS_AHEAD:
                ready.append(pool.submit(run, step + len(ready)))
            yield to_batch(ready.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


def _domains(store: Store, config: Config, split: Split) -> dict[Modality, Domain]:
    return {name: find_domain(store, config.data, name, split) for name in MODALITIES}


def _order(domains: dict[Modality, Domain], config: Config, split: Split) -> Order:
    return Order(
        mri=domains["mri"].table,
        ct=domains["ct"].table,
        seed=config.run.seed,
        batch=config.batch,
        partner=config.data.partner,
        augment=config.data if split == "train" else None,
    )
