"""A step equals the plain recipe, and an update that is not finite changes nothing."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cyclegan.config.config import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    TrainConfig,
)
from cyclegan.config.loss import Term
from cyclegan.data.batch import Batch
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.gradients import gradient_norm, not_finite
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step

CONFIG = Config(
    generator=GeneratorConfig(filters=4, blocks=1),
    discriminator=DiscriminatorConfig(filters=4, norm="instance", spectral=False),
    loss=LossConfig(ssim=Term(weight=0.0)),
    train=TrainConfig(pool_size=0),
)


def fresh(config: Config = CONFIG) -> TrainState:
    return build_state(config, size=(32, 32), shards=range(1), device=torch.device("cpu"))


def bare(state: TrainState) -> TrainEngine:
    return TrainEngine(
        generators=state.generators, discriminators=state.discriminators, autocast=nullcontext
    )


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    mri, ct = torch.rand(2, 2, 1, 32, 32, generator=generator) * 2 - 1
    body = torch.ones(2, 1, 32, 32)
    return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))


def plain_gradients(state: TrainState, batch: Batch) -> tuple[Tensor, ...]:
    """Zhu 2017 written down pass by pass, without batching the passes: generators, then
    discriminators."""
    to_ct, to_mri = state.generators.to_ct, state.generators.to_mri
    judge_mri, judge_ct = state.discriminators.mri, state.discriminators.ct
    fake_ct, fake_mri = to_ct(batch.mri), to_mri(batch.ct)
    generators = (
        ((judge_ct(fake_ct) - 1) ** 2).mean()
        + ((judge_mri(fake_mri) - 1) ** 2).mean()
        + 10 * (to_mri(fake_ct) - batch.mri).abs().mean()
        + 10 * (to_ct(fake_mri) - batch.ct).abs().mean()
        + 5 * (to_ct(batch.ct) - batch.ct).abs().mean()
        + 5 * (to_mri(batch.mri) - batch.mri).abs().mean()
    )
    discriminators = torch.zeros(())
    for judge, real, fake in ((judge_mri, batch.mri, fake_mri), (judge_ct, batch.ct, fake_ct)):
        real_loss = ((judge(real) - 1) ** 2).mean()
        discriminators = discriminators + 0.5 * (real_loss + (judge(fake.detach()) ** 2).mean())
    return tuple(
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])
        for loss, network in (
            (generators, state.generators),
            (discriminators, state.discriminators),
        )
    )


def test_a_step_has_the_gradients_of_the_recipe_written_down_pass_by_pass(batch):
    state = fresh()
    oracle = plain_gradients(state, batch)

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)

    for network, expected in zip((state.generators, state.discriminators), oracle, strict=True):
        # All of a network at once: a bias before InstanceNorm has no gradient but rounding.
        gradient = torch.cat([weight.grad.flatten() for weight in network.parameters()])
        assert (gradient - expected).norm() < 1e-4 * expected.norm()


def test_an_update_is_adam_with_the_published_settings(batch):
    state = fresh()
    before = [p.detach().clone().requires_grad_() for p in state.generators.parameters()]

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)
    for copied, weight in zip(before, state.generators.parameters(), strict=True):
        copied.grad = weight.grad
    torch.optim.Adam(before, lr=2e-4, betas=(0.5, 0.999)).step()

    for expected, weight in zip(before, state.generators.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-8)


def test_rates_on_the_device_update_to_the_bit_as_numbers_do(batch):
    state = fresh()
    before = [p.detach().clone().requires_grad_() for p in state.generators.parameters()]
    plain = torch.optim.Adam(before, lr=1.0, betas=(0.5, 0.999), fused=True)
    rate = state.generator_optimizer.param_groups[0]["lr"]

    for step in range(3):
        plain.param_groups[0]["lr"] = 2e-4 / (step + 3)
        rate.fill_(2e-4 / (step + 3))
        train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)
        for copied, weight in zip(before, state.generators.parameters(), strict=True):
            copied.grad = weight.grad
        plain.step()

    for expected, weight in zip(before, state.generators.parameters(), strict=True):
        assert torch.equal(weight, expected)


class UnfusedAdam(torch.optim.Adam):
    """Fused Adam has no meta kernel. This one takes no flag, and counts its steps on the host."""

    def step(self, closure=None):
        assert self.found_inf.device.type == "meta"
        del self.found_inf
        return super().step(closure)


@pytest.mark.parametrize("num_parts", [1, 2])
def test_a_step_stays_on_its_device_and_reads_nothing_back(batch, num_parts, monkeypatch):
    """On torch's meta device a tensor on another device raises, and so does reading a value."""
    meta = torch.device("meta")
    # Autocast knows no meta device; the SSIM term asks for it to be off, which it is.
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: nullcontext())
    config = replace(CONFIG, loss=LossConfig(), train=TrainConfig(pool_size=2))
    config = replace(config, discriminator=DiscriminatorConfig(filters=4))
    state = build_state(config, size=(32, 32), shards=range(1), device=meta)
    state.generator_optimizer = UnfusedAdam(state.generators.parameters(), foreach=True)
    state.discriminator_optimizer = UnfusedAdam(state.discriminators.parameters(), foreach=True)
    moved = batch.mapped(lambda tensor: tensor.to(meta))
    engine = replace(bare(state), num_parts=num_parts, clip_norm=1.0, discriminator_updates=2)

    terms = train_step(state, engine, moved, config.loss, ema_decay=0.9)

    held = [*terms.values(), state.skipped, state.streak, state.mri_pool.images]
    held += moved.tensors.values()
    for module in (state.generators, state.discriminators, state.mean):
        held += [*module.parameters(), *module.buffers()]
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        for moments in optimizer.state.values():
            held += [moments["exp_avg"], moments["exp_avg_sq"]]
    assert {tensor.device for tensor in held} == {meta}
    assert {"watch/edges", "accuracy/discriminator_ct", "loss/ssim"} <= set(terms)


def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(batch):
    state = fresh()
    before = copy.deepcopy(state.generators.state_dict())
    bad = replace(batch, mri=torch.full_like(batch.mri, torch.nan))

    train_step(state, bare(state), bad, CONFIG.loss, ema_decay=0.9)

    assert state.skipped.item() == 1
    for name, weight in state.generators.state_dict().items():
        assert torch.equal(weight, before[name]), name
        assert torch.equal(state.mean.state_dict()[name], before[name]), name

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)

    assert state.skipped.item() == 1
    assert not torch.equal(next(state.generators.parameters()), before["to_ct.layers.1.weight"])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_low_precision_updates_where_it_can_and_skips_where_it_must(batch, precision):
    config = replace(CONFIG, train=replace(CONFIG.train, precision=precision, compile="no"))
    state = build_state(
        config,
        size=(32, 32),
        shards=range(1),
        device=torch.device("cpu"),
        fp16=precision == "fp16",
    )
    engine = place_networks(state, config, Worker(), note=pytest.fail)
    before = [p.detach().clone() for p in state.generators.parameters()]
    bad = replace(batch, mri=torch.full_like(batch.mri, torch.nan))

    train_step(state, engine, bad, config.loss, ema_decay=0.9)
    unchanged = [
        torch.equal(p, q) for p, q in zip(before, state.generators.parameters(), strict=True)
    ]
    assert all(unchanged)
    assert state.skipped.item() == 1

    for _ in range(16):  # fp16 halves its first scale, 65,536, until gradients fit
        train_step(state, engine, batch, config.loss, ema_decay=0.9)
    assert state.skipped.item() == 1 or precision == "fp16"
    assert not torch.equal(before[0], next(state.generators.parameters()))
    assert all(p.isfinite().all() for p in state.generators.parameters())


def test_weights_of_zero_leave_a_term_out(batch):
    state = fresh()

    terms = train_step(state, bare(state), batch, LossConfig(ssim=Term(weight=0.0)), ema_decay=0.0)

    assert "loss/ssim" not in terms
    terms = train_step(state, bare(state), batch, LossConfig(ssim=Term(weight=1.0)), ema_decay=0.0)
    assert terms["loss/ssim"].item() > 0


def test_the_mean_follows_the_weights(batch):
    state = fresh()

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.0)

    for mean, weight in zip(state.mean.parameters(), state.generators.parameters(), strict=True):
        torch.testing.assert_close(mean, weight.data)


def test_the_flag_sees_one_bad_gradient_among_many():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(4)]
    for weight in weights:
        weight.grad = torch.ones(3)
    assert not_finite(gradient_norm(weights)).item() == 0

    weights[2].grad[1] = torch.inf

    assert not_finite(gradient_norm(weights)).item() == 1


def test_the_discriminators_are_trainable_after_having_judged(batch):
    state = fresh()

    train_step(state, bare(state), batch, CONFIG.loss, ema_decay=0.9)

    assert state.discriminators.training
    assert all(p.requires_grad for p in state.discriminators.parameters())
