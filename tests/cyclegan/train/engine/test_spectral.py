"""Spectral norm's vectors take one power iteration a step, however often the discriminators
judge."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from cyclegan.config.config import Config, DiscriminatorConfig, GeneratorConfig, TrainConfig
from cyclegan.data.batch import Batch
from cyclegan.train.engine.state import build_state
from cyclegan.train.engine.step import TrainEngine, train_step

CONFIG = Config(
    generator=GeneratorConfig(filters=4, blocks=1),
    discriminator=DiscriminatorConfig(filters=4, norm="none", spectral=True),
    train=TrainConfig(pool_size=0),
)


def vectors(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    norm = convolution.parametrizations.weight[0]
    return norm._u.clone(), norm._v.clone()


def one_iteration(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Miyato 2018, algorithm 1, by hand: torch's order is u, then v."""
    matrix = convolution.parametrizations.weight.original.detach().flatten(1)
    _, v = vectors(convolution)
    u = matrix @ v / (matrix @ v).norm()
    v = matrix.T @ u / (matrix.T @ u).norm()
    return u, v


def test_a_step_advances_the_vectors_of_every_layer_once():
    state = build_state(CONFIG, size=(32, 32), shards=range(1), device=torch.device("cpu"))
    engine = TrainEngine(
        generators=state.generators, discriminators=state.discriminators, autocast=nullcontext
    )
    body = torch.ones(2, 1, 32, 32)
    batch = Batch(
        mri=torch.rand(2, 1, 32, 32),
        ct=torch.rand(2, 1, 32, 32),
        mri_body=body,
        ct_body=body,
        pixel_mm=(1.0, 1.0),
    )
    layers = [layer for layer in state.discriminators.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 10

    for _ in range(2):
        expected = [one_iteration(layer) for layer in layers]
        train_step(state, engine, batch, CONFIG.loss, ema_decay=0.9)

        for layer, (u, v) in zip(layers, expected, strict=True):
            torch.testing.assert_close(vectors(layer), (u, v))
