"""Equal compute: what a candidate's step costs in steps of the reference, measured in turns."""

import time
from statistics import median

import torch

from cyclegan.config.config import Config
from cyclegan.data.batch import Batch
from cyclegan.inference.slices import best_device
from cyclegan.nets.input_channels import with_conditions
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import build_state
from cyclegan.train.engine.step import train_step
from data_prep.store.store import Store

DEVICE = best_device()
"""Where runs train."""
TURNS = 8
WARM_UP = 3


def step_ratio(config: Config, reference: Config, store: Store) -> float:
    """Median seconds of a step over those of the reference's step.

    Both take turns, so that they meet the same neighbours on a shared machine. Batches lie ready:
    loading goes on beside the steps in a real run.
    """
    took: list[list[float]] = [[], []]
    placed = []
    for each in (config, reference):
        state = build_state(each, size=store.size, shards=range(each.batch.shards), device=DEVICE)
        engine = place_networks(state, each, Worker(device=DEVICE), print)
        placed.append((each, state, engine, batch_of(each, store)))
    for number in range(WARM_UP + TURNS):
        for seconds, (each, state, engine, batch) in zip(took, placed, strict=True):
            began = time.perf_counter()
            terms = train_step(state, engine, batch, each.loss.at(0, 100), each.train.ema_decay)
            terms["loss/generators"].item()  # waits for the device
            if number >= WARM_UP:
                seconds.append(time.perf_counter() - began)
    torch.compiler.reset()  # the run that follows compiles as if it were alone
    return median(took[0]) / median(took[1])


def batch_of(config: Config, store: Store) -> Batch:
    """Noise of the right shapes."""
    num, (height, width) = config.batch.global_size, store.size
    images = torch.rand(2, num, config.data.channels, height, width, device=DEVICE) * 2 - 1
    body = torch.zeros(num, 1, height, width, device=DEVICE)
    body[..., 8:-8, 8:-8] = 1
    mri, ct = images
    if config.data.conditions:
        middle, pixel = torch.full((num,), 0.5, device=DEVICE), store.spacing_mm[1:]
        mri, ct = (with_conditions(image, body, middle, pixel) for image in images)
    return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))
