"""Parts of a batch and a limit on gradients change memory and speed, not what is meant."""

from contextlib import nullcontext

import pytest
import torch

from cyclegan.config.config import (
    BatchConfig,
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    TrainConfig,
)
from cyclegan.data.batch import Batch
from cyclegan.train.engine.gradients import OrderedGradients, clip, gradient_norm
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step

CONFIG = Config(
    batch=BatchConfig(shards=4, shard_size=1),
    generator=GeneratorConfig(filters=4, blocks=1),
    discriminator=DiscriminatorConfig(filters=4),
    train=TrainConfig(pool_size=2),
)


def fresh() -> TrainState:
    return build_state(CONFIG, size=(32, 32), shards=range(4), device=torch.device("cpu"))


def engine(state: TrainState, **settings) -> TrainEngine:
    usual = {"autocast": nullcontext, "part_weight": 1 / settings.get("num_parts", 1)}
    return TrainEngine(
        generators=state.generators, discriminators=state.discriminators, **usual | settings
    )


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    mri, ct = torch.rand(2, 4, 1, 32, 32, generator=generator) * 2 - 1
    body = torch.ones(4, 1, 32, 32)
    return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))


def vectors(state: TrainState) -> list[torch.Tensor]:
    """Spectral norm's."""
    return [vector.clone() for vector in state.discriminators.buffers()]


@pytest.mark.parametrize("gradients", [{}, {"gradients": OrderedGradients()}])
def test_four_parts_have_the_gradients_and_terms_of_one_batch(batch, gradients):
    whole, cut = fresh(), fresh()
    expected = train_step(whole, engine(whole), batch, CONFIG.loss, 0.9)

    terms = train_step(cut, engine(cut, num_parts=4, **gradients), batch, CONFIG.loss, 0.9)

    for name in expected:
        if not name.startswith("watch/"):  # measured on one part
            torch.testing.assert_close(terms[name], expected[name], rtol=1e-4, atol=1e-6)
    for ours, theirs in (
        (cut.generators, whole.generators),
        (cut.discriminators, whole.discriminators),
    ):
        a, b = (torch.cat([p.grad.flatten() for p in m.parameters()]) for m in (ours, theirs))
        assert (a - b).norm() < 1e-4 * b.norm()


@pytest.mark.parametrize("num_parts", [1, 4])
def test_spectral_norm_advances_once_per_discriminator_update(batch, num_parts):
    state, oracle = fresh(), fresh()

    train_step(state, engine(state, num_parts=num_parts), batch, CONFIG.loss, 0.9)
    oracle.discriminators(
        batch.mri, batch.ct
    )  # one forward of the fresh discriminators in training mode

    for ours, theirs in zip(vectors(state), vectors(oracle), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_discriminators_may_learn_slower_or_faster_than_generators(batch):
    state = fresh()
    slow = engine(state, discriminator_every_steps=2)
    for expected in (1, 1, 2, 2):
        terms = train_step(state, slow, batch, CONFIG.loss, 0.9)
        assert steps_of(state.discriminator_optimizer) == expected
    assert "loss/discriminator_ct" not in terms
    assert steps_of(state.generator_optimizer) == 4

    train_step(state, engine(state, discriminator_updates=3), batch, CONFIG.loss, 0.9)

    assert steps_of(state.discriminator_optimizer) == 5
    assert steps_of(state.generator_optimizer) == 5


def test_several_discriminator_updates_and_clipping_work_with_a_scaler(batch):
    """A scaler lets an optimizer step once between two updates of its own, and clip once."""
    state = fresh()
    state.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled = engine(state, discriminator_updates=2, clip_norm=1.0)
    plain = fresh()
    for _ in range(3):
        train_step(state, scaled, batch, CONFIG.loss, 0.9)
        train_step(
            plain, engine(plain, discriminator_updates=2, clip_norm=1.0), batch, CONFIG.loss, 0.9
        )

    assert steps_of(state.discriminator_optimizer) == 6
    for ours, theirs in zip(
        state.discriminators.parameters(), plain.discriminators.parameters(), strict=True
    ):
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-3


def steps_of(optimizer: torch.optim.Adam) -> int:
    return int(next(iter(optimizer.state.values()))["step"])


@pytest.mark.parametrize("longest", [0.01, 1e6])
def test_clipping_is_that_of_torch(longest):
    generator = torch.Generator().manual_seed(1)
    weights = [torch.nn.Parameter(torch.zeros(5, 3)) for _ in range(3)]
    for weight in weights:
        weight.grad = torch.randn(5, 3, generator=generator)
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    for copy, weight in zip(copies, weights, strict=True):
        copy.grad = weight.grad.clone()

    clip(weights, gradient_norm(weights), longest)
    torch.nn.utils.clip_grad_norm_(copies, longest)

    for copy, weight in zip(copies, weights, strict=True):
        torch.testing.assert_close(weight.grad, copy.grad)
