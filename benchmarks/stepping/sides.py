"""Two ways to run the recipe of the preset `reference`: as it is usually written, eager and pass by
pass as in Zhu 2017's code, and through the training engine. With batches for both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.data.batch import Batch
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import compute_dtype, memory_format, place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import train_step
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise
from tests.support.stores import random_head

CPU = torch.device("cpu")
Step = Callable[[Batch], None]


@dataclass(frozen=True, kw_only=True)
class StepSide:
    """One way to run the recipe: its weights, and what does a step with them."""

    state: TrainState
    step: Step


def usual_side(config: Config, size: int) -> StepSide:
    """The recipe pass by pass; its weights get their gradients and one update."""
    state = new_state(config, size)
    to_ct, to_mri = state.generators.to_ct, state.generators.to_mri
    dtype = compute_dtype(config.train.precision, CPU)
    loss = config.loss

    def step(batch: Batch) -> None:
        mri, ct = batch.mri, batch.ct
        state.discriminators.requires_grad_(False)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            fake_ct, fake_mri = to_ct(mri), to_mri(ct)
            returned_mri, returned_ct = to_mri(fake_ct), to_ct(fake_mri)
            same_mri, same_ct = to_mri(mri), to_ct(ct)
            scores = state.discriminators.ct(fake_ct), state.discriminators.mri(fake_mri)
        cycle = F.l1_loss(returned_mri, mri) + F.l1_loss(returned_ct, ct)
        identity = F.l1_loss(same_mri, mri) + F.l1_loss(same_ct, ct)
        fooled = sum(F.mse_loss(score, torch.ones_like(score)) for score in scores)
        total = fooled + loss.cycle.weight * cycle + loss.identity.weight * identity
        descend(state.generator_optimizer, total)
        state.discriminators.requires_grad_(True)
        fakes = ((state.discriminators.ct, ct, fake_ct), (state.discriminators.mri, mri, fake_mri))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            judged = [
                (discriminator(real), discriminator(fake.detach()))
                for discriminator, real, fake in fakes
            ]
        total = sum(
            0.5
            * (F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake)))
            for real, fake in judged
        )
        descend(state.discriminator_optimizer, total)

    return StepSide(state=state, step=step)


def to_fp64(side: StepSide) -> StepSide:
    """The same in fp64."""
    for network in (side.state.generators, side.state.discriminators, side.state.mean):
        network.double()
    return side


def descend(optimizer: torch.optim.Optimizer, loss: Any) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def engine_side(config: Config, size: int) -> StepSide:
    """The same recipe through the training engine."""
    state = new_state(config, size)
    engine = place_networks(state, config, Worker(), print)

    def step(batch: Batch) -> None:
        train_step(state, engine, batch, config.loss, 0.0)

    return StepSide(state=state, step=step)


def new_state(config: Config, size: int) -> TrainState:
    layout = memory_format(config.train.channels_last, CPU)
    return build_state(config, size=(size, size), shards=range(1), device=CPU, layout=layout)


def batch_of(number: int, size: int) -> Batch:
    """One slice of each domain of a random head."""
    random = np.random.default_rng(number)
    (mri, body), (ct, other) = (
        (head[name], head["body"])
        for name, head in ((n, random_head(random, (3, size, size))) for n in ("mri", "ct"))
    )

    def image(values: Any, window: tuple[float, float]) -> Tensor:
        return torch.from_numpy(normalise(values[1].astype(np.float32), window))[None, None]

    masks = (torch.from_numpy(mask[1].astype(np.float32))[None, None] for mask in (body, other))
    mri_body, ct_body = masks
    window = (0.0, float(np.percentile(mri, 99.5)))
    return Batch(
        mri=image(mri, window),
        ct=image(ct, WINDOW_HU),
        mri_body=mri_body,
        ct_body=ct_body,
        pixel_mm=(1.0, 1.0),
    )
