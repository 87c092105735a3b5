"""Endless stream of the batches of one worker, from a store and a configuration.

It combines sampler, slice sources, DALI graph and prefetch thread.
"""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.data.augmentation import DrawNoise
from cyclegan.data.batch import Batch
from cyclegan.data.companion_source import CompanionSource, companions_of
from cyclegan.data.dali import BatchPipeline, Outputs, to_batch
from cyclegan.data.mri_intensity import MriIntensity
from cyclegan.data.prefetch import Heartbeat, prefetch
from cyclegan.data.reader import SliceReader
from cyclegan.data.sampler import Order
from cyclegan.data.slice_index import Domain, find_domain
from cyclegan.data.slice_source import DomainSource, PendingSlices, RecordSubstitution
from cyclegan.data.stored_slices import BatchFormat, StoredSlices
from cyclegan.nets.input_channels import PixelSize, with_conditions
from data_prep.datasets.split import Split
from data_prep.store.companions.group import Companion
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.host_limits import require_files, require_shared_memory
from mrct.imaging.modality import MODALITIES, Modality

Heights = NDArray[np.float32]
Pair = tuple[StoredSlices, StoredSlices]
"""MRI and CT slices of a batch."""


class Beside(NamedTuple):
    """Arrays of a batch that are no input of the graph."""

    mri_height: Heights
    ct_height: Heights
    noise: NDArray[np.float32] | None


Made = tuple[Outputs, Beside]
"""A batch in DALI's memory, and what goes with it."""
AddConditions = Callable[[Tensor, Tensor, Tensor, PixelSize], Tensor]
"""`nets.input_channels.with_conditions`, of slices, body masks, heights, pixel size."""
READS_AHEAD = 2
"""Steps whose slices are read while a batch is prepared."""


def print_note(text: object) -> None:
    """Print a message for the user to stderr."""
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
    add_conditions: AddConditions = with_conditions,
    note: Callable[[str], None] = print_note,
    record: RecordSubstitution = print_note,
) -> Generator[Batch, None, None]:
    """Open the stream of the batches of steps `start_step`, `start_step` + 1, ...

    A batch contains the samples of the given shards, in the order of the shards: B = number of
    shards x `batch.shard_size` slice pairs, with 2 x `data.neighbours` + 1 slices and, with
    `data.conditions`, two condition channels. Images are in [-1, 1]. Batches are a pure function of
    the configuration, the step, the shards and the store's companions. Slices are augmented in the
    train split only, and have companions and noise there only.
    Closing the generator ends its thread.

    Args:
        store: Store with the volumes.
        config: Configuration of the run; its data, batch and run sections matter, whether
            `loss.draw_noise` is above 0, and on a GPU `scale.workers` for the check of the shared
            memory.
        split: Split of the slices.
        shards: Logical shards of this worker, see `BatchConfig.shards_of`.
        start_step: Step of the first batch, from 0.
        device: Device of the batches.
        channels_last: Whether images with several channels have the channels_last memory layout.
        add_conditions: Adds the condition channels, if `data.conditions`; perhaps compiled.
        note: Called with a message when the loader is restarted.
        record: Called with each replacement of a damaged slice.

    Returns:
        A generator that never ends.

    Raises:
        DataError: A domain has no slices, or a companion is not of the train split; raised at once.
        UserError: The machine allows too few open files, or on a GPU has too little shared memory;
            raised at once.
        StoreError: A volume is damaged; raised by the `next` whose batch needs it.
        LoaderError: The loader stalled or died repeatedly; raised by the `next` that waits for it.

    Examples:
        >>> from contextlib import closing
        >>> from cyclegan.config.presets import preset
        >>> from data_prep.store.store import open_store
        >>> from mrct.storage.paths import storage_path
        >>> store, config = open_store(storage_path("brain.zarr")), preset("smoke")
        >>> stream = open_stream(
        ...     store, config, "train", shards=range(2), start_step=0, device=torch.device("cpu")
        ... )
        >>> with closing(stream):
        ...     batch = next(stream)
        >>> batch.mri.shape  # two shards of one pair
        torch.Size([2, 1, 64, 64])
    """
    require_files()
    if device.type == "cuda":
        require_shared_memory(min(config.scale.workers, torch.cuda.device_count()))
    domains = _domains(store, config, split)
    has_companions = config.data.has_companions and split == "train"
    companions = companions_of(store, config.data) if has_companions else {}
    order = _order(domains, config, split, companions)
    has_noise = config.loss.draw_noise > 0 and split == "train"
    draw_noise = DrawNoise(config.run.seed, store.size) if has_noise else None
    intensity = (
        MriIntensity(config.data, config.run.seed, store.size, store.spacing_mm[1:])
        if config.data.changes_intensity and split == "train"
        else None
    )
    form = BatchFormat.of(
        config.data,
        batch_size=len(shards) * config.batch.shard_size,
        changes_intensity=intensity is not None,
        channels_last=channels_last,
        companions=has_companions,
    )

    def produce(first_step: int, heartbeat: Heartbeat) -> Iterator[Made]:
        if device.type == "cuda":
            # A new thread starts at GPU 0, where CUDA would make a context that nobody needs.
            torch.cuda.set_device(device)
        heartbeat("building the DALI graph")
        maker = BatchPipeline(form, threads=config.data.threads, device=device)
        reader = SliceReader(store, cache_bytes=int(config.data.cache_gib * 2**30))
        source = CompanionSource(companions, config.run.seed, reader, store.size)
        mri, ct = (
            DomainSource(
                modality,
                domains[modality],
                order,
                store=store,
                config=config.data,
                reader=reader,
                intensity=intensity if modality == "mri" else None,
                record=record,
                heartbeat=heartbeat,
                companions=source if has_companions and modality == "mri" else None,
                draw_noise=draw_noise if modality == "ct" else None,
            )
            for modality in MODALITIES
        )

        def slices() -> Iterator[Pair]:
            pending: deque[tuple[PendingSlices, PendingSlices]] = deque()
            for step in count(first_step):
                while len(pending) <= READS_AHEAD:
                    due = step + len(pending)
                    samples = order.samples(order.indices(due, shards))
                    pending.append((mri.start(samples.mri, due), ct.start(samples.ct, due)))
                mri_slices, ct_slices = pending.popleft()
                yield mri.finish(mri_slices), ct.finish(ct_slices)

        return _make(maker, slices(), first_step, heartbeat)

    made = prefetch(produce, start_step, stall_s=config.data.stall_s, note=note)
    return _batches(made, store, add_conditions if config.data.conditions else None)


def _make(
    maker: BatchPipeline, slices: Iterator[Pair], first_step: int, heartbeat: Heartbeat
) -> Iterator[Made]:
    """Yield the batches of the slices; while DALI prepares one, the slices of the next are read."""
    beside: Beside | None = None
    try:
        for step, (mri, ct) in enumerate(slices, first_step):
            if beside is not None:
                heartbeat(f"making the batch of step {step - 1} in DALI")
                yield maker.finish(), beside
            maker.start(mri, ct)
            beside = Beside(mri.height, ct.height, ct.noise)
    except StoreError:
        if beside is not None:  # the batch before the damaged one is complete
            yield maker.finish(), beside
        raise


def _batches(
    made: Generator[Made, None, None], store: Store, add_conditions: AddConditions | None
) -> Generator[Batch, None, None]:
    try:
        for outputs, beside in made:
            batch = to_batch(outputs, store.spacing_mm[1:])
            if beside.noise is not None:
                batch = replace(batch, noise=like_device(beside.noise, batch))
            heights = beside.mri_height, beside.ct_height
            yield conditioned(batch, *heights, store, add_conditions) if add_conditions else batch
    finally:
        made.close()


def conditioned(
    batch: Batch,
    mri_height: Heights,
    ct_height: Heights,
    store: Store,
    add_conditions: AddConditions,
) -> Batch:
    """Add the condition channels to a batch, computed from its augmented masks.

    Args:
        batch: Batch of images without conditions.
        mri_height: [B], heights of the MRI slices.
        ct_height: [B], heights of the CT slices.
        store: Store of the slices, which has the size of a pixel.
        add_conditions: Adds the channels, as in `open_stream`.
    """
    pixel = store.spacing_mm[1:]
    return replace(
        batch,
        mri=add_conditions(batch.mri, batch.mri_body, like_device(mri_height, batch), pixel),
        ct=add_conditions(batch.ct, batch.ct_body, like_device(ct_height, batch), pixel),
    )


def like_device(array: NDArray[np.float32], batch: Batch) -> Tensor:
    """Return an array as a tensor on the device of a batch, without waiting for the device."""
    values = torch.from_numpy(array)
    if batch.mri.is_cuda:  # from pageable memory the copy would wait for the device
        values = values.pin_memory()
    return values.to(batch.mri.device, non_blocking=True)


def steps_per_epoch(store: Store, config: Config) -> int:
    """Return the optimizer steps per epoch, one pass over the train slices of the larger domain.

    Raises:
        DataError: A domain has no slices.
    """
    return _order(_domains(store, config, "train"), config, "train").steps_per_epoch


def _domains(store: Store, config: Config, split: Split) -> dict[Modality, Domain]:
    return {name: find_domain(store, config.data, name, split) for name in MODALITIES}


def _order(
    domains: dict[Modality, Domain],
    config: Config,
    split: Split,
    companions: Mapping[str, Companion] = MappingProxyType({}),
) -> Order:
    pairs = [name.encode() for name, each in companions.items() if each.kind == "paired"]
    paired = np.flatnonzero(np.isin(domains["mri"].volumes.texts("name"), pairs)) if pairs else None
    return Order(
        mri=domains["mri"].table,
        ct=domains["ct"].table,
        seed=config.run.seed,
        batch=config.batch,
        partner=config.data.partner,
        augment=config.data if split == "train" else None,
        paired=None if paired is None else domains["mri"].table.rows_of(paired),
        paired_share=config.data.paired_share,
    )
