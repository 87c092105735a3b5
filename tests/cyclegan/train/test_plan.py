"""A plan's numbers are those of the run that follows."""

from dataclasses import replace

import pytest

from cyclegan.train import checkpoint
from cyclegan.train.loop import train_worker
from cyclegan.train.plan import make_plan
from cyclegan.train.workers import Worker


def test_steps_follow_from_the_larger_domain(config, store):
    epochs = replace(config, train=replace(config.train, max_steps=0, epochs=2.5))

    plan = make_plan(epochs, store)

    assert plan.steps_per_epoch == 4  # 2 volumes of 4 slices each, 2 pairs a step
    assert plan.total_steps == 10
    assert make_plan(config, store).total_steps == 6


def test_a_checkpoint_has_the_size_that_was_planned(config, store):
    train_worker(config, Worker())
    folder = checkpoint.folder_of(config.run_folder, 6)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    # Headers and step counters are the rest: kilobytes, which small networks show.
    assert make_plan(config, store).checkpoint_bytes == pytest.approx(size, rel=0.1)


def test_two_workers_halve_the_batch_of_each(config, store):
    two = replace(config, scale=replace(config.scale, workers=2))

    one_plan, two_plan = make_plan(config, store), make_plan(two, store)

    assert (one_plan.worker_batch, two_plan.worker_batch) == (2, 1)
    assert two_plan.activation_bytes == pytest.approx(one_plan.activation_bytes / 2, rel=0.05)


def test_shard_by_shard_needs_the_memory_of_one(config, store):
    parts = replace(config, scale=replace(config.scale, accumulate=True))

    whole_plan, parts_plan = make_plan(config, store), make_plan(parts, store)

    assert parts_plan.worker_batch == whole_plan.worker_batch == 2
    assert parts_plan.activation_bytes == pytest.approx(whole_plan.activation_bytes / 2, rel=0.05)
