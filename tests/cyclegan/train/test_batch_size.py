"""`--batch auto` takes the pairs that the GPU's memory allows, and a run keeps them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.config import BatchConfig
from cyclegan.config.files import to_yaml
from cyclegan.config.presets import preset
from cyclegan.train import __main__ as command
from cyclegan.train.batch_size import (
    USABLE_SHARE,
    USEFUL_PAIRS,
    batch_for,
    choose_batch,
    step_gib,
)
from mrct.errors import ExitCode
from tests.support.stores import make_store

PAGE = Path(__file__).resolve().parents[3] / "docs/gpu.md"
ROWS = re.findall(r"^\| `([\w-]+)` \| (\d+) \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {
        side: make_store(folder / f"{side}.zarr", mri=1, ct=1, shape=(2, side, side))
        for side in (256, 512)
    }


@pytest.mark.parametrize(("name", "pairs", "gib"), ROWS)
def test_memory_is_that_of_fake_tensors(stores, name, pairs, gib):
    config = replace(preset(name), batch=BatchConfig(shards=1, shard_size=int(pairs)))

    found = step_gib(config, stores[512 if "512" in name else 256])

    assert 0.9 < found / float(gib) < 1.25


def of_workers(config, shards: int, workers: int, **scale):
    return replace(
        config,
        batch=BatchConfig(shards=shards),
        scale=replace(config.scale, workers=workers, **scale),
    )


def enough_for(config, store, pairs: int) -> float:
    """The memory of a GPU, in GiB, on which one shard of so many pairs just fits."""
    one = of_workers(config, 1, 1)
    return step_gib(replace(one, batch=BatchConfig(shard_size=pairs)), store) / USABLE_SHARE + 1e-6


def test_a_shard_grows_until_the_memory_is_full_or_more_would_not_be_faster(config, store):
    one = of_workers(config, 1, 1)

    for pairs in (1, 3, USEFUL_PAIRS):
        found = batch_for(one, store, enough_for(config, store, pairs))
        assert found == BatchConfig(shards=1, shard_size=pairs)
    assert batch_for(one, store, 1000.0).shard_size == USEFUL_PAIRS
    assert batch_for(one, store, 1e-3) == BatchConfig(shards=1, shard_size=1)  # it may not fit


def test_every_worker_fills_its_own_gpu(config, store):
    assert batch_for(of_workers(config, 4, 2), store, 1000.0) == BatchConfig(shards=4, shard_size=4)
    assert batch_for(of_workers(config, 3, 2), store, 1000.0) == BatchConfig(shards=3, shard_size=4)


def test_shards_are_fewer_where_a_pair_of_each_does_not_fit(config, store):
    many = of_workers(config, 16, 2)

    found = batch_for(many, store, 1e-3)

    assert found == BatchConfig(shards=2, shard_size=1)


def test_shards_one_by_one_have_the_memory_to_themselves(config, store):
    parts = of_workers(config, 4, 1, accumulate=True)

    assert batch_for(parts, store, 1000.0) == BatchConfig(shards=4, shard_size=USEFUL_PAIRS)


def test_without_a_gpu_the_batch_remains_and_it_is_said(config, store):
    on_cpu = replace(of_workers(config, 2, 1, gpu="no"), run=replace(config.run, name=""))

    batch, reason = choose_batch(on_cpu, store)

    assert batch == on_cpu.batch
    assert "no GPU here" in reason


def test_a_run_that_has_begun_keeps_its_batch(config, store):
    begun = replace(config, batch=BatchConfig(shards=2, shard_size=3))
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.yaml").write_text(to_yaml(begun))

    batch, reason = choose_batch(config, store, gpu_gib=1000.0)

    assert batch == begun.batch
    assert "--batch.shards 2 --batch.shard-size 3" in reason


def test_the_command_says_its_batch_and_plans_with_it(store, tmp_path, capsys):
    place = ["--data.store", str(store.path), "--run.storage", str(tmp_path), "--plan"]

    end = command.main(["smoke", *place, "--batch", "auto", "--gpu-gib", "100"])

    assert end == ExitCode.DONE
    said = capsys.readouterr().out
    assert "--batch auto: 8 pairs per step (--batch.shards 2 --batch.shard-size 4)" in said
    assert "8 slice pairs per step" in said
