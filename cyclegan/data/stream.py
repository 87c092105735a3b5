"""From a store and a config to the endless stream of batches of one worker.

It puts order, sources, graph and loader together. It knows nothing of networks, ranks or
checkpoints: a worker says which shards it runs and where it starts.
"""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import count
from math import prod

import torch

from cyclegan.config import Config
from cyclegan.data.batch import Batch
from cyclegan.data.domain import Domain, find_domain
from cyclegan.data.limits import require_files, require_shared_memory
from cyclegan.data.loader import Heartbeat, load_ahead
from cyclegan.data.noise import NoiseBank
from cyclegan.data.order import Order
from cyclegan.data.pipeline import BatchMaker, Form, Outputs, reading_stream, to_batch
from cyclegan.data.reader import SliceReader
from cyclegan.data.source import DomainSource
from cyclegan.data.substitute import Record
from data_prep.split import Split
from data_prep.store import Store
from data_prep.volume import Modality

MODALITIES: tuple[Modality, ...] = ("mri", "ct")
READS_AHEAD = 2
"""Steps whose slices are being read while a batch is made."""


def tell(text: object) -> None:
    """Where the caller has no better place for what people should know."""
    print(text, file=sys.stderr, flush=True)


def open_stream(
    store: Store,
    config: Config,
    split: Split,
    *,
    shards: range,
    start_step: int,
    device: torch.device,
    channels_last: bool = False,
    note: Callable[[str], None] = tell,
    record: Record = tell,
) -> Generator[Batch, None, None]:
    """The batches of steps `start_step`, `start_step` + 1, ... for the given logical shards.

    A batch holds the shards' samples in the order of the shards. Slices are varied in the train
    split only. `note` hears of a loader that was started again, `record` of slices that stood in
    for damaged ones. Closing the generator ends its thread.

    Raises:
        DataError: A domain has no slices, or the machine's limits are too low; at once.
        StoreError: A volume is damaged; by the `next` whose batch needs it.
        LoaderError: No batch comes any more; by the `next` that waits for it.
    """
    require_files()
    if device.type == "cuda":
        require_shared_memory(min(config.scale.workers, torch.cuda.device_count()))
    domains = _domains(store, config, split)
    order = _order(domains, config, split)
    noise = config.data.noise > 0 and split == "train"
    form = Form(
        batch_size=len(shards) * config.batch.shard_size,
        channels=config.data.channels,
        mri_contrast=config.data.mri_contrast,
        noise=noise,
        half=config.data.dtype == "float16",
        channels_last=channels_last,
    )
    cuda_stream = reading_stream(device)
    bank = NoiseBank(config.run.seed, config.data.channels * prod(store.size)) if noise else None

    def produce(first_step: int, heartbeat: Heartbeat) -> Iterator[Outputs]:
        heartbeat("building the DALI graph")
        maker = BatchMaker(
            form, threads=config.data.threads, device=device, cuda_stream=cuda_stream
        )
        reader = SliceReader(store, cache_bytes=int(config.data.cache_gib * 2**30))
        mri, ct = (
            DomainSource(
                modality,
                domains[modality],
                order,
                store=store,
                config=config.data,
                reader=reader,
                bank=bank if modality == "mri" else None,
                record=record,
                heartbeat=heartbeat,
            )
            for modality in MODALITIES
        )
        pending = deque()  # type: ignore[var-annotated]
        for step in count(first_step):
            while len(pending) <= READS_AHEAD:
                due = step + len(pending)
                samples = order.samples(order.indices(due, shards))
                pending.append((mri.start(samples.mri, due), ct.start(samples.ct, due)))
            mri_slices, ct_slices = pending.popleft()
            stored = mri.finish(mri_slices), ct.finish(ct_slices)
            heartbeat(f"making the batch of step {step} in DALI")
            yield maker.run(*stored)

    return _batches(load_ahead(produce, start_step, stall_s=config.data.stall_s, note=note))


def _batches(outputs: Generator[Outputs, None, None]) -> Generator[Batch, None, None]:
    try:
        for each in outputs:
            yield to_batch(each)
    finally:
        outputs.close()


def steps_per_epoch(store: Store, config: Config) -> int:
    """Optimizer steps that show every train slice of the larger domain at least once."""
    return _order(_domains(store, config, "train"), config, "train").steps_per_epoch


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
