"""A step equals the plain recipe, and an update that is not finite changes nothing."""

import copy
from contextlib import nullcontext

import pytest
import torch

from cyclegan.config import Config, CriticConfig, GeneratorConfig, LossConfig, TrainConfig
from cyclegan.data.batch import Batch
from cyclegan.train.guard import not_finite
from cyclegan.train.state import TrainState, build_state
from cyclegan.train.step import Engine, train_step

CONFIG = Config(
    generator=GeneratorConfig(filters=4, blocks=1),
    critic=CriticConfig(filters=4, norm="instance", spectral=False),
    loss=LossConfig(ssim_weight=0.0),
    train=TrainConfig(pool_size=0),
)


def fresh(config: Config = CONFIG) -> TrainState:
    return build_state(config, size=(32, 32), shards=range(1), device=torch.device("cpu"))


def bare(state: TrainState) -> Engine:
    return Engine(translators=state.translators, critics=state.critics, autocast=nullcontext)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    mri, ct = torch.rand(2, 2, 1, 32, 32, generator=generator) * 2 - 1
    body = torch.ones(2, 1, 32, 32)
    return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body)


def plain_step(state: TrainState, batch: Batch) -> None:
    """Zhu 2017 written down pass by pass: no batching, no pool, no fused optimizer."""
    to_ct, to_mri = state.translators.to_ct, state.translators.to_mri
    judge_mri, judge_ct = state.critics.mri, state.critics.ct
    generators = [*to_ct.parameters(), *to_mri.parameters()]
    critics = [*judge_mri.parameters(), *judge_ct.parameters()]
    generator_adam, critic_adam = (
        torch.optim.Adam(weights, lr=2e-4, betas=(0.5, 0.999), fused=False)
        for weights in (generators, critics)
    )
    fake_ct, fake_mri = to_ct(batch.mri), to_mri(batch.ct)
    loss = (
        ((judge_ct(fake_ct) - 1) ** 2).mean()
        + ((judge_mri(fake_mri) - 1) ** 2).mean()
        + 10 * (to_mri(fake_ct) - batch.mri).abs().mean()
        + 10 * (to_ct(fake_mri) - batch.ct).abs().mean()
        + 5 * (to_ct(batch.ct) - batch.ct).abs().mean()
        + 5 * (to_mri(batch.mri) - batch.mri).abs().mean()
    )
    gradients = torch.autograd.grad(loss, generators)
    for weight, gradient in zip(generators, gradients, strict=True):
        weight.grad = gradient
    generator_adam.step()
    critic_adam.zero_grad()
    for judge, real, fake in ((judge_mri, batch.mri, fake_mri), (judge_ct, batch.ct, fake_ct)):
        real_loss = ((judge(real) - 1) ** 2).mean()
        (0.5 * (real_loss + (judge(fake.detach()) ** 2).mean())).backward()
    critic_adam.step()


def test_a_step_equals_the_recipe_written_down_pass_by_pass(batch):
    state, oracle = fresh(), fresh()

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)
    plain_step(oracle, batch)

    for ours, theirs in (
        (state.translators, oracle.translators),
        (state.critics, oracle.critics),
    ):
        for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            # Adam's first step is rate x sign: a gradient of nearly 0 may take either sign.
            agree = torch.isclose(weight, other, rtol=0, atol=2e-5).float().mean()
            assert agree > 0.97, f"{name}: {agree:.3f} of the weights agree"


def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(batch):
    state = fresh()
    before = copy.deepcopy(state.translators.state_dict())
    bad = Batch(
        mri=torch.full_like(batch.mri, torch.nan),
        ct=batch.ct,
        mri_body=batch.mri_body,
        ct_body=batch.ct_body,
    )

    train_step(state, bare(state), bad, CONFIG.loss, ema_decay=0.9)

    assert state.skipped.item() == 1
    for name, weight in state.translators.state_dict().items():
        assert torch.equal(weight, before[name]), name
        assert torch.equal(state.mean.state_dict()[name], before[name]), name

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)

    assert state.skipped.item() == 1
    assert not torch.equal(next(state.translators.parameters()), before["to_ct.layers.1.weight"])


def test_weights_of_zero_leave_a_term_out(batch):
    state = fresh()

    terms = train_step(state, bare(state), batch, LossConfig(ssim_weight=0.0), ema_decay=0.0)

    assert "loss/ssim" not in terms
    terms = train_step(state, bare(state), batch, LossConfig(ssim_weight=1.0), ema_decay=0.0)
    assert terms["loss/ssim"].item() > 0


def test_the_mean_follows_the_weights(batch):
    state = fresh()

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.0)

    for mean, weight in zip(state.mean.parameters(), state.translators.parameters(), strict=True):
        torch.testing.assert_close(mean, weight.data)


def test_the_flag_sees_one_bad_gradient_among_many():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(4)]
    for weight in weights:
        weight.grad = torch.ones(3)
    assert not_finite(weights).item() == 0

    weights[2].grad[1] = torch.inf

    assert not_finite(weights).item() == 1


def test_the_critics_are_trainable_after_having_judged(batch):
    state = fresh()

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)

    assert state.critics.training
    assert all(p.requires_grad for p in state.critics.parameters())
