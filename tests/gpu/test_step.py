"""The whole step of `default`: the numbers of the CPU, no sync with the host, equal bits, and fp32
where it is promised."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from cyclegan.nets.discriminator import Discriminator
from cyclegan.nets.losses import structural_loss
from cyclegan.train.engine.diagnostics import MEASURE_EVERY_STEPS
from cyclegan.train.monitor.timers import StepTimer, peak_memory

STEPS = [MEASURE_EVERY_STEPS, MEASURE_EVERY_STEPS + 1]
"""One with the measurements of failure modes, and one without."""


@contextmanager
def never_waiting(device: torch.device) -> Iterator[None]:
    """Fails where the host waits for a GPU; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("channels_last", ["yes", "no"])
def test_a_step_has_the_losses_of_the_cpu(bench, step, channels_last):
    config = bench.config(compile="no", precision="fp32", channels_last=channels_last)
    found = []
    for device in (torch.device("cpu"), bench.device):
        stepper = bench.stepper(config, device=device)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        stepper.state.step = step
        found.append(stepper.step())
    on_cpu, here = found

    assert any(name.startswith("watch/") for name in here) == (step % MEASURE_EVERY_STEPS == 0)
    for name, term in here.items():
        # The others count pixels and patches beyond a threshold, where rounding moves one of them.
        rtol, atol = (1e-3, 1e-4) if name.startswith("loss/") else (1e-2, 2e-2)
        torch.testing.assert_close(term.cpu(), on_cpu[name], rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_step_never_waits_for_the_gpu(bench, precision, step):
    timer = StepTimer(bench.device, ("generators", "discriminators"))
    config = bench.config(compile="no", precision=precision, channels_last="yes")
    stepper = bench.stepper(config, lap=timer.lap)
    for _ in range(2):
        stepper.step()
    stepper.state.step = step
    timer.take()
    timer.start()

    with never_waiting(bench.device):
        terms = stepper.step()

    assert all(ms > 0 for ms in timer.take().values())
    assert peak_memory(bench.device)["memory/peak_gib"] > 0
    if precision != "fp16":  # whose first steps look for the scale
        assert not stepper.state.skipped
        assert all(term.isfinite() for term in terms.values())


def test_fp16_finds_its_scale_and_then_learns(bench):
    config = bench.config(compile="no", precision="fp16", channels_last="no")
    stepper = bench.stepper(config)
    before = [weight.detach().clone() for weight in stepper.state.generators.parameters()]
    for _ in range(20):
        stepper.step()
        if not stepper.state.streak:
            break

    assert not stepper.state.streak
    after = stepper.state.generators.parameters()
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert all(weight.isfinite().all() for weight in stepper.state.generators.parameters())


def test_two_deterministic_runs_have_equal_bits(bench):
    config = bench.config("deterministic", pairs=1, channels_last="no")
    found = []
    for _ in range(2):
        stepper = bench.stepper(config)
        for seed in range(3):
            stepper.batch = bench.batch(config, seed=seed)
            stepper.step()
        weights = stepper.state.generators.parameters()
        found.append(torch.cat([weight.detach().flatten() for weight in weights]))

    assert torch.equal(*found)


def test_ssim_is_computed_in_fp32_where_convolutions_may_use_tf32(device):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 64, 64, generator=random) * 2 - 1
    noisy = (image + 0.01 * torch.randn(image.shape, generator=random)).clamp(-1, 1)

    def value_and_gradient(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        ours = noisy.to(device, dtype, copy=True).requires_grad_()
        loss = structural_loss(image.to(device, dtype), ours)
        loss.backward()
        return loss.detach().double(), ours.grad.double().flatten()

    value, gradient = value_and_gradient(torch.float32)
    exact, exact_gradient = value_and_gradient(torch.float64)
    torch.testing.assert_close(value, exact, rtol=1e-3, atol=0)
    assert torch.cosine_similarity(gradient, exact_gradient, dim=0) > 0.99999


def test_spectral_norm_stays_out_of_autocast(device):
    torch.manual_seed(0)
    discriminator = Discriminator(in_channels=3, filters=8, norm="none", spectral=True)
    layer = discriminator.to(device).eval().layers[2]
    with torch.no_grad():
        expected = layer.weight
        with torch.autocast(device.type, torch.bfloat16):
            found = layer.weight

    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
