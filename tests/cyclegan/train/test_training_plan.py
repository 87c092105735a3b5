"""A plan's numbers are those of the run that follows."""

from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.presets import brain_256
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.dry_run import measure_steps
from cyclegan.train.training_plan import make_plan
from tests.support.stores import make_store


def test_steps_follow_from_the_larger_domain(config, store):
    epochs = replace(config, train=replace(config.train, max_steps=0, epochs=2.5))

    plan = make_plan(epochs, store)

    assert plan.steps_per_epoch == 4  # 2 volumes of 4 slices each, 2 pairs a step
    assert plan.total_steps == 10
    assert make_plan(config, store).total_steps == 6


def test_a_checkpoint_has_the_size_that_was_planned(finished, store):
    folder = checkpoint.folder_of(finished.config.run_folder, 6)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    # Headers and step counters are the rest: kilobytes, which small networks show.
    assert make_plan(finished.config, store).checkpoint_bytes == pytest.approx(size, rel=0.1)


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


def test_a_run_of_eight_gpus_on_paper(tmp_path):
    """Nothing of it can start here; its numbers are there all the same."""
    store = make_store(tmp_path / "s.zarr", mri=3, ct=2, shape=(8, 256, 256))
    base = brain_256()
    with pytest.raises(ConfigError, match=r"8 workers, but batch\.shards is 4.*--batch\.shards 8"):
        replace(base, scale=replace(base.scale, workers=8))
    eight = replace(
        base,
        scale=replace(base.scale, workers=8),
        batch=replace(base.batch, shards=8),
        data=replace(base.data, min_body_fraction=0),
    )
    one = replace(eight, scale=replace(eight.scale, workers=1))

    plan, alone = make_plan(eight, store), make_plan(one, store)

    assert (plan.global_batch, plan.worker_batch, alone.worker_batch) == (16, 2, 16)
    assert plan.steps_per_epoch == alone.steps_per_epoch == 2  # 3 x 8 MRI slices, 16 a step
    assert plan.total_steps == 120
    # The reference's generator, which sees depth and height too through kernels of 7 x 7. MRI -> CT
    # also sees three channels of the look-up, and has a branch of three convolutions.
    branch = 32 * (6 * 9 + 1) + 32 * (32 * 9 + 1) + 32 * 9 + 1
    guided = 3 * 64 * 7 * 7 + branch
    assert plan.generator_parameters == 2 * (11_365_633 + 2 * 64 * 7 * 7) + guided
    # Spectral norm adds no weights, its vectors are buffers.
    assert plan.discriminator_parameters == 2 * (2_762_689 + 2 * 64 * 4 * 4)
    # A worker has the weights, gradients, moments and mean of all, and an eighth of the rest.
    assert plan.activation_bytes == pytest.approx(alone.activation_bytes / 8, rel=0.05)
    pools = 2 * 50 * 3 * 256 * 256 * 4  # with what else the discriminators see: depth and height
    assert alone.state_bytes - plan.state_bytes == 7 * pools
    assert plan.checkpoint_bytes == alone.checkpoint_bytes


def test_a_rehearsal_is_the_run_of_one_worker_and_leaves_nothing(config, store):
    two = replace(config, scale=replace(config.scale, workers=2))

    told = measure_steps(two, store)

    assert told.steps == 6
    assert 0 < told.step_s < 60
    assert told.run_s == told.first_step_s + 5 * told.step_s
    assert told.memory_gib is None
    assert told.peak_gib > 0.05
    assert "one worker without gradient communication" in str(told)
    assert not Path(config.run.storage).exists()
