"""A few slices as the networks are shown them in training, without augmentation."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.data.augmentation import Augmentation
from cyclegan.data.dali import BatchPipeline, to_batch
from cyclegan.data.prefetch import Heartbeat
from cyclegan.data.reader import SliceReader, SliceRef
from cyclegan.data.sampler import Order, Slices
from cyclegan.data.slice_index import find_domain
from cyclegan.data.slice_source import DomainSource
from cyclegan.data.stored_slices import BatchFormat
from cyclegan.data.stream import conditioned, print_note
from cyclegan.nets.input_channels import with_conditions
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.imaging.modality import Modality


def example_inputs(
    store: Store, config: Config, modality: Modality, split: Split, most: int
) -> tuple[list[SliceRef], Float[Tensor, "N C H W"]]:
    """Return slices from all over a domain, and the networks' inputs for them.

    The inputs are made as those of `open_stream`, in float32.

    Args:
        store: Store with the volumes.
        config: Configuration of the run.
        modality: Modality of the domain.
        split: Split of the slices.
        most: Number of slices, unless the domain has fewer.

    Returns:
        The slices, sorted by volume, and the inputs in [-1, 1], on the CPU.

    Raises:
        DataError: The domain has no slices.
        StoreError: A volume is damaged.
    """
    data = replace(config.data, on_corrupt="stop", dtype="float32")
    domain = find_domain(store, data, modality, split)
    # The middles of equal parts of the table.
    rows = np.unique((2 * np.arange(most) + 1) * len(domain.table) // (2 * most))
    source = DomainSource(
        modality,
        domain,
        Order(
            mri=domain.table,
            ct=domain.table,
            seed=config.run.seed,
            batch=config.batch,
            partner=data.partner,
            augment=None,
        ),
        store=store,
        config=data,
        reader=SliceReader(store, cache_bytes=0),
        intensity=None,
        record=print_note,
        heartbeat=Heartbeat(),
    )
    chosen = Slices(index=rows, row=rows, augmentation=Augmentation.none(len(rows)))
    slices = source.finish(source.start(chosen, step=0))
    form = BatchFormat.of(data, batch_size=len(rows))
    pipeline = BatchPipeline(form, threads=data.threads, device=torch.device("cpu"))
    pipeline.start(slices, slices)  # it makes images of both domains; only one is used
    batch = to_batch(pipeline.finish(), store.spacing_mm[1:])
    if data.conditions:
        batch = conditioned(batch, slices.height, slices.height, store, with_conditions)
    volumes, z = domain.table.places(rows)
    refs = [
        SliceRef(domain.volumes[number], one)
        for number, one in zip(volumes.tolist(), z.tolist(), strict=True)
    ]
    images = batch.mri if modality == "mri" else batch.ct
    return refs, images.clone()  # the memory may be DALI's, which ends with the pipeline
