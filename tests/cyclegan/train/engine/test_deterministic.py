"""Deterministic training has the same bits on 1, 2 and 4 workers."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from cyclegan.config.config import BatchConfig
from cyclegan.config.files import to_yaml
from cyclegan.train.checkpoint.checkpoint import FILE_HASHES, folder_of
from cyclegan.train.engine.deterministic import MirrorPad2d, replace_reflection
from cyclegan.train.engine.state import build_generators
from tests.support.gloo import run_workers

THREE_RUNS = """
from dataclasses import replace

for number in (4, 2, 1):
    if rank < number:
        worker = meet(number) if number > 1 else Worker()
        train_worker(replace(config, run=replace(config.run, name=f"of-{number}")), worker)
        if number > 1:
            dist.destroy_process_group()
"""


@pytest.fixture(autouse=True)
def undo():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_one_two_and_four_workers_end_with_the_same_hash_of_the_whole_state(config, tmp_path):
    path = tmp_path / "deterministic.yaml"
    deterministic = replace(
        config,
        batch=BatchConfig(shards=4, shard_size=2),
        train=replace(config.train, deterministic=True, max_steps=3, pool_size=3),
    )
    path.write_text(to_yaml(deterministic))

    run_workers(THREE_RUNS, path, 4)

    manifests = [
        json.loads(
            (folder_of(deterministic.run_folder.parent / f"of-{n}", 3) / FILE_HASHES).read_text()
        )
        for n in (1, 2, 4)
    ]
    assert manifests[0] == manifests[1] == manifests[2]
    assert {
        "discriminators.safetensors",
        "discriminator_optimizer.safetensors",
        "pools_003.safetensors",
    } <= set(manifests[0])


@pytest.mark.parametrize("padding", [1, 3])
def test_padding_by_mirrors_is_reflection_padding_and_has_its_gradient(padding):
    image = torch.randn(2, 3, 8, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 8 + 2 * padding, 6 + 2 * padding, dtype=torch.float64)
    outcomes = []
    for pad in (MirrorPad2d(padding), nn.ReflectionPad2d(padding)):
        padded = pad(image)
        (gradient,) = torch.autograd.grad((padded * weights).sum(), image)
        outcomes.append((padded, gradient))

    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], rtol=0, atol=0)
    torch.testing.assert_close(outcomes[0][1], outcomes[1][1])


def test_every_reflection_padding_is_replaced_and_no_weight_is_renamed(config):
    generators = build_generators(config)
    names = list(generators.state_dict())

    replace_reflection(generators)

    assert not any(isinstance(module, nn.ReflectionPad2d) for module in generators.modules())
    assert list(generators.state_dict()) == names
