"""The whole step on a CUDA device: the numbers of the CPU, and not one sync with the host."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from cyclegan.config.presets import smoke
from cyclegan.data.batch import Batch
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step
from cyclegan.train.monitor.timers import StepTimer, peak_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CONFIG = smoke()


def state_on(device: str, *, fp16: bool = False) -> TrainState:
    return build_state(
        CONFIG, size=(64, 64), shards=range(2), device=torch.device(device), fp16=fp16
    )


def batch_on(device: str) -> Batch:
    images = torch.rand(2, 2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mri, ct = images.to(device)
    body = torch.ones_like(mri)
    return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body)


def test_a_step_on_the_gpu_has_the_losses_of_the_cpu():
    terms = {}
    for device in ("cpu", "cuda"):
        state = state_on(device)
        engine = TrainEngine(
            generators=state.generators, discriminators=state.discriminators, autocast=nullcontext
        )
        terms[device] = train_step(state, engine, batch_on(device), CONFIG.loss, 0.9)

    for name, term in terms["cuda"].items():
        torch.testing.assert_close(term.cpu(), terms["cpu"][name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_step_never_waits_for_the_gpu(precision):
    config = replace(CONFIG, train=replace(CONFIG.train, precision=precision))
    state, batch = state_on("cuda", fp16=precision == "fp16"), batch_on("cuda")
    stopwatch = StepTimer(torch.device("cuda"), ("generators", "discriminators"))
    worker = Worker(device=torch.device("cuda"))
    engine = place_networks(state, config, worker, note=pytest.fail, lap=stopwatch.lap)
    train_step(state, engine, batch, config.loss, 0.9)
    stopwatch.take()
    stopwatch.start()

    torch.cuda.set_sync_debug_mode("error")
    try:
        train_step(state, engine, batch, config.loss, 0.9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(ms > 0 for ms in stopwatch.take().values())
    assert peak_memory(torch.device("cuda"))["memory/peak_gib"] > 0
