"""Replay pools fill first, then swap half of the time, alike on any number of workers."""

import torch

from cyclegan.data.philox import Stream
from cyclegan.train.engine.replay_pool import ReplayPools


def pools(shards: range, shard_size: int = 2, capacity: int = 6) -> ReplayPools:
    return ReplayPools(
        shards=shards,
        shard_size=shard_size,
        capacity=capacity,
        size=(1, 1),
        seed=7,
        stream=Stream.MRI_REPLAY,
        device=torch.device("cpu"),
    )


def fakes(step: int, shards: range, shard_size: int = 2) -> torch.Tensor:
    """Each image is its own number, so that it can be recognised."""
    numbers = [1000 * s + step * shard_size + i + 1 for s in shards for i in range(shard_size)]
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None]


def test_a_filling_pool_hands_every_image_through():
    pool = pools(range(1))

    for step in range(3):
        new = fakes(step, range(1))
        torch.testing.assert_close(pool.swap(new, step), new)

    assert sorted(pool.images.flatten().tolist()) == [1, 2, 3, 4, 5, 6]


def test_a_full_pool_swaps_half_of_the_images_and_loses_none():
    pool, swapped = pools(range(1)), 0
    for step in range(400):
        new = fakes(step, range(1))
        before = pool.images.flatten().tolist()
        out = pool.swap(new, step)
        after = pool.images.flatten().tolist()
        assert (
            sorted(before + new.flatten().tolist()) == sorted(after + out.flatten().tolist())
            or step < 3
        )
        swapped += int((out != new).sum())

    assert 340 < swapped < 460  # 797 images, p = 0.5: within 4 standard deviations


def test_two_workers_hold_together_what_one_would():
    one, left, right = pools(range(4)), pools(range(2)), pools(range(2, 4))

    for step in range(20):
        both = torch.cat(
            [left.swap(fakes(step, range(2)), step), right.swap(fakes(step, range(2, 4)), step)]
        )
        torch.testing.assert_close(one.swap(fakes(step, range(4)), step), both)


def test_what_is_not_finite_is_never_stored():
    pool = pools(range(1))

    pool.swap(torch.full((2, 1, 1, 1), float("nan")), 0)

    assert pool.images.isfinite().all()


def test_capacity_zero_is_no_pool():
    new = fakes(0, range(1))

    assert pools(range(1), capacity=0).swap(new, 0) is new
