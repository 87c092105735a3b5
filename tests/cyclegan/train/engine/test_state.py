"""A checkpoint is the whole state: whatever a step can change changes its hash and comes back."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError
from cyclegan.nets.discriminator import SMALLEST_IMAGE, Discriminator
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.replay_pool import ReplayPools
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines

Leaf = tuple[str, Callable[[], object], Callable[[object], None]]
"""A name, how to read what it names, and how to put something in its place."""
CONSTANT = {"shards", "shard_size", "seed", "stream", "capacity"}  # of the pools, by the config
SCALER = {"_scale", "_growth_tracker"}  # what GradScaler changes; its other fields are settings


def leaves(name: str, value: object) -> Iterator[Leaf]:
    """All numbers and tensors that hang on a part of the state, found without its help."""
    if isinstance(value, nn.Module):
        tensors = [*value.named_parameters(), *value.named_buffers()]
    elif isinstance(value, torch.optim.Optimizer):
        tensors = [
            (f"{index}.{key}", tensor)
            for index, weight in enumerate(value.param_groups[0]["params"])
            for key, tensor in value.state[weight].items()
        ]
    elif isinstance(value, torch.amp.GradScaler):
        tensors = [(key, each) for key, each in vars(value).items() if key in SCALER]
    elif isinstance(value, ReplayPools):
        assert set(vars(value)) == CONSTANT | {"images"}
        tensors = [("images", value.images)]
    elif isinstance(value, Tensor):
        tensors = [("", value)]
    else:
        raise AssertionError(f"TrainState.{name} is a {type(value)}: say here what of it changes")
    for key, tensor in tensors:
        assert isinstance(tensor, Tensor), f"{name}.{key}"
        yield f"{name}.{key}", tensor.detach().clone, tensor.detach().copy_


def leaves_of(state: TrainState) -> Iterator[Leaf]:
    """The leaves of every field."""
    for each in fields(state):
        value = getattr(state, each.name)
        if each.name == "settings":
            continue  # constant, by the config
        if isinstance(value, int | str):
            yield each.name, partial(getattr, state, each.name), partial(setattr, state, each.name)
        else:
            yield from leaves(each.name, value)


@pytest.fixture
def state(trained: TrainState) -> TrainState:
    """A state in which steps have changed everything, the scaler too."""
    state = trained
    state.scaler = torch.amp.GradScaler("cpu", enabled=True)
    state.scaler.scale(torch.ones(()))  # makes its tensors
    return state


def manifest(state: TrainState, folder: Path) -> dict[str, str]:
    """File names and hashes of a checkpoint of the state; saved as if it were at step 0."""
    saved = checkpoint.save_checkpoint(state, folder)
    hashes: dict[str, str] = json.loads((saved / checkpoint.FILE_HASHES).read_text())
    shutil.rmtree(folder)
    return hashes


def test_whatever_is_perturbed_changes_the_hash(state, tmp_path):
    whole = manifest(state, tmp_path / "c")
    names = []
    for name, read, put in leaves_of(state):
        before = read()
        put(before + ("f" if isinstance(before, str) else 1))
        assert manifest(state, tmp_path / "c") != whole, f"{name} is in no checkpoint"
        put(before)
        names.append(name)

    assert manifest(state, tmp_path / "c") == whole
    assert {"step", "rollbacks", "streak.", "scaler._scale", "ct_pool.images"} <= set(names)
    assert "discriminators.mri.layers.0.parametrizations.weight.0._u" in names
    assert "discriminator_optimizer.0.exp_avg_sq" in names


def test_discriminators_have_the_scales_of_the_config_and_slices_large_enough_for_them(config):
    two = replace(config, discriminator=replace(config.discriminator, scales=2))
    build = partial(build_state, two, shards=range(1), device=torch.device("cpu"))

    assert len(build(size=(48, 64)).discriminators.mri.coarser) == 1
    with pytest.raises(ConfigError, match=r"discriminator.scales is 2.*at 20 pixels; it needs 24"):
        build(size=(64, 40))


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_the_smallest_slice_that_a_discriminator_takes_is_as_told(norm):
    discriminator = Discriminator(filters=2, norm=norm)

    assert discriminator(torch.rand(1, 1, SMALLEST_IMAGE, SMALLEST_IMAGE)).shape == (1, 1, 1, 1)
    with pytest.raises((RuntimeError, ValueError)):
        discriminator(torch.rand(1, 1, SMALLEST_IMAGE - 1, SMALLEST_IMAGE - 1))


def test_what_was_saved_is_what_comes_back(state, config, tmp_path):
    whole = manifest(state, tmp_path / "c")
    saved = checkpoint.save_checkpoint(state, tmp_path / "kept")
    other = build_state(
        config, size=(32, 32), shards=range(2), device=torch.device("cpu"), fp16=True
    )

    checkpoint.restore_checkpoint(other, saved)
    other.scaler.scale(torch.ones(()))

    assert manifest(other, tmp_path / "c") == whole


def test_a_run_draws_nothing_from_the_process_wide_generators(config):
    """They would be state, too."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy()

    train_worker(config, Worker())

    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit_from_each_of_its_steps(config):
    every = replace(
        config.schedule,
        log_every="1 step",
        save_every="1 step",
        validate_every="never",
        keep_last=100,
    )
    unbroken = replace(config, schedule=every)
    train_worker(unbroken, Worker())
    end = checkpoint.folder_of(unbroken.run_folder, 6) / checkpoint.FILE_HASHES
    for step in range(6):
        again = replace(unbroken, run=replace(config.run, name=f"from-{step}"))
        source = checkpoint.folder_of(unbroken.run_folder, step)
        shutil.copytree(source, checkpoint.folder_of(again.run_folder, step))

        train_worker(again, Worker())

        resumed = checkpoint.folder_of(again.run_folder, 6) / checkpoint.FILE_HASHES
        assert json.loads(resumed.read_text()) == json.loads(end.read_text()), step
        assert losses(again, step) == losses(unbroken, step)


def losses(config: Config, after: int) -> list[dict[str, float]]:
    """The loss terms of each step after one, as they were told."""
    return [
        {name: value for name, value in line.items() if name.startswith("loss/")}
        for line in read_lines(config.run_folder / METRICS)
        if line["step"] > after and "loss/generators" in line
    ]
