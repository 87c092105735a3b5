"""The whole step on torch's `meta` device, which holds no numbers: a tensor of another device, a
`.item()` or a branch on a value raises. It catches many wrong-device tensors, not all, and stands
in for no test on a GPU.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cyclegan.config.config import (
    BatchConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
)
from cyclegan.data.batch import Batch
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step

META = torch.device("meta")
SIZE = (32, 32)
CONFIG = Config(
    batch=BatchConfig(shards=2, shard_size=1),
    generator=GeneratorConfig(filters=4, blocks=1),
    discriminator=DiscriminatorConfig(filters=4),
)
EVERYTHING = replace(
    CONFIG,
    data=DataConfig(neighbours=1, conditions=True, use_pairs=True, companions="0" * 16),
    generator=replace(CONFIG.generator, guide="table"),
    loss=replace(CONFIG.loss, draw_noise=0.8).mapped(lambda term: replace(term, enabled=True)),
)


class OnMetaOnly(TorchDispatchMode):
    """Refuses every operation that yields a tensor elsewhere, but for the host's small tables on
    their way to the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if any(x.device == META for x in given):
            for x in tree_leaves(made):
                assert not isinstance(x, torch.Tensor) or x.device == META, func
            hosts = [x for x in given if x.device != META]
            assert not any(x.dim() for x in hosts), f"{func} mixes devices"
        return made


def state_on_meta(config: Config) -> TrainState:
    state = build_state(config, size=SIZE, shards=range(2), device=torch.device("cpu"))
    for pair in (state.generators, state.discriminators, state.mean):
        pair.to(META)
    state.generator_optimizer.param_groups[0]["params"] = list(state.generators.parameters())
    state.discriminator_optimizer.param_groups[0]["params"] = list(
        state.discriminators.parameters()
    )
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].to(META)
    for pool in (state.mri_pool, state.ct_pool):
        pool.images = pool.images.to(META)
    state.skipped, state.streak = state.skipped.to(META), state.streak.to(META)
    return state


def batch_on_meta(config: Config) -> Batch:
    channels = config.data.channels + config.data.num_conditions
    images = torch.zeros(2, channels, *SIZE, device=META)
    body = torch.zeros(2, 1, *SIZE, device=META)
    has_companions = config.data.has_companions
    return Batch(
        mri=images,
        ct=images.clone(),
        mri_body=body,
        ct_body=body.clone(),
        companion=body.clone() if has_companions else None,
        trust=torch.zeros(2, 2, *SIZE, device=META) if has_companions else None,
        noise=body.clone() if config.loss.draw_noise else None,
        pixel_mm=(1.0, 1.0),
    )


def tensors_of(state: TrainState, batch: Batch) -> dict[str, torch.Tensor]:
    """Everything that a step reads or changes."""
    found = batch.tensors
    for name in ("generators", "discriminators", "mean"):
        module = getattr(state, name)
        found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        weights = module.named_parameters()
        found |= {f"{name}.{key}.grad": p.grad for key, p in weights if p.grad is not None}
    for name in ("generator_optimizer", "discriminator_optimizer"):
        for index, moments in enumerate(getattr(state, name).state.values()):
            found |= {f"{name}.{index}.{key}": value for key, value in moments.items()}
    return found | {
        "mri_pool": state.mri_pool.images,
        "ct_pool": state.ct_pool.images,
        "skipped": state.skipped,
        "streak": state.streak,
    }


@pytest.fixture
def fused_adam_on_meta() -> Iterator[None]:
    """torch has a meta kernel for a rate that is a number, and none for a tensor."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("_fused_adam_.tensor_lr", lambda *tensors, **settings: None, "Meta")
    yield
    library._destroy()


@pytest.mark.usefixtures("fused_adam_on_meta")
@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("settings", [{}, {"clip_norm": 1.0, "num_parts": 2}], ids=["one", "parts"])
def test_a_step_touches_no_other_device_and_reads_no_value(config, settings, monkeypatch):
    # Both refuse a device whose name they do not know; the kernels themselves do not.
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: nullcontext())
    adam = sys.modules["torch.optim.adam"]  # torch.optim itself has lost its name
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *a, **k: None)
    state, batch = state_on_meta(config), batch_on_meta(config)
    engine = TrainEngine(
        generators=state.generators,
        discriminators=state.discriminators,
        autocast=nullcontext,
        **settings,
    )

    with OnMetaOnly():
        for _ in range(2):
            terms = train_step(state, engine, batch, config.loss, 0.9)

    tensors = tensors_of(state, batch) | terms
    assert {name for name, tensor in tensors.items() if tensor.device != META} == set()
    assert state.step == 2
    assert any(name.startswith("discriminator_optimizer") for name in tensors)


def test_a_read_value_or_a_stray_tensor_is_found():
    tensor = torch.zeros(3, device=META)

    with pytest.raises((RuntimeError, NotImplementedError)):
        tensor.sum().item()
    with OnMetaOnly(), pytest.raises((AssertionError, RuntimeError)):
        _ = tensor + torch.zeros(3)
