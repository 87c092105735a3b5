"""The order of slices is a promise: nothing is lost, nothing doubled, workers can come and go."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cyclegan.config.config import BatchConfig, DataConfig
from cyclegan.data.sampler import ATTEMPTS, Order, Samples
from cyclegan.data.slice_index import MAX_HEIGHT_DIFFERENCE, SliceTable
from mrct.imaging.geometry import SLICE_STEPS

Partner = Literal["random", "position"]

SIZES = st.integers(1, 60)
PARTNERS = st.sampled_from(["random", "position"])


def table(size: int) -> SliceTable:
    """`size` slices in volumes of ten."""
    depth = np.full(-(-size // 10), 10)
    shown = np.arange(depth.sum()) < size
    return SliceTable.of_volumes(shown, depth, lowest=0.0 * depth, highest=depth - 1.0)


def make_order(
    num_mri: int = 40, num_ct: int = 25, partner: Partner = "random", **batch: int
) -> Order:
    return Order(
        mri=table(num_mri),
        ct=table(num_ct),
        seed=7,
        batch=BatchConfig(**batch),
        partner=partner,
        augment=DataConfig(),
    )


def pairs(samples: Samples) -> np.ndarray:
    """[N, 2], rows of the MRI and of the CT."""
    return np.stack([samples.mri.row, samples.ct.row], axis=1)


@given(num_mri=SIZES, num_ct=SIZES, partner=PARTNERS, epoch=st.integers(0, 5))
def test_an_epoch_shows_every_slice_of_the_larger_domain_once(
    num_mri: int, num_ct: int, partner: Partner, epoch: int
) -> None:
    order = make_order(num_mri, num_ct, partner)
    larger = max(num_mri, num_ct)

    shown = pairs(order.samples(epoch * larger + np.arange(larger)))

    leader = shown[:, 0] if num_mri >= num_ct else shown[:, 1]
    np.testing.assert_array_equal(np.sort(leader), np.arange(larger))


@given(num_mri=SIZES, num_ct=SIZES)
def test_the_smaller_domain_is_shown_in_whole_passes_too(num_mri: int, num_ct: int) -> None:
    order = make_order(num_mri, num_ct)
    smaller = min(num_mri, num_ct)

    shown = pairs(order.samples(np.arange(3 * smaller)))

    follower = shown[:, 1] if num_mri >= num_ct else shown[:, 0]
    for one_pass in follower.reshape(3, smaller):
        np.testing.assert_array_equal(np.sort(one_pass), np.arange(smaller))


@given(step=st.integers(0, 10**6), shard_size=st.integers(1, 3), partner=PARTNERS)
def test_the_global_batch_is_the_same_for_1_2_3_4_and_8_workers(
    step: int, shard_size: int, partner: Partner
) -> None:
    order = make_order(partner=partner, shards=8, shard_size=shard_size)

    by_world_size = [
        np.concatenate(
            [
                pairs(order.samples(order.indices(step, order.batch.shards_of(rank, world_size))))
                for rank in range(world_size)
            ]
        )
        for world_size in (1, 2, 3, 4, 8)
    ]

    for batch in by_world_size:
        np.testing.assert_array_equal(batch, by_world_size[0])
        assert len(batch) == order.batch.global_size


@given(shards=st.integers(1, 16), world_size=st.integers(1, 16))
def test_every_shard_belongs_to_one_worker_and_the_shares_differ_by_one_at_most(
    shards: int, world_size: int
) -> None:
    batch = BatchConfig(shards=shards)
    world_size = min(world_size, shards)

    shares = [batch.shards_of(rank, world_size) for rank in range(world_size)]

    assert [shard for share in shares for shard in share] == list(range(shards))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(
    num_mri=SIZES,
    num_ct=SIZES,
    partner=PARTNERS,
    shards=st.integers(1, 4),
    start=st.integers(0, 99),
)
def test_to_resume_is_arithmetic(
    num_mri: int, num_ct: int, partner: Partner, shards: int, start: int
) -> None:
    steps = 6

    def run(first: int, last: int) -> np.ndarray:
        order = make_order(num_mri, num_ct, partner, shards=shards)  # nothing is carried over
        indices = [order.indices(step, range(shards)) for step in range(first, last)]
        return np.concatenate([pairs(order.samples(each)) for each in indices])

    unbroken = run(start, start + steps)

    resumed = np.concatenate([run(start, start + 2), run(start + 2, start + steps)])
    np.testing.assert_array_equal(resumed, unbroken)


@given(index=st.integers(0, 10**9), attempt=st.integers(0, ATTEMPTS - 1))
def test_a_substitute_depends_on_index_and_attempt_alone(index: int, attempt: int) -> None:
    order = make_order(400, 300)
    indices, rows = np.array([index, index + 7]), np.array([33, 128])

    together = order.substitutes("mri", indices, rows, attempt)

    alone = [order.substitutes("mri", indices[[i]], rows[[i]], attempt)[0] for i in range(2)]
    np.testing.assert_array_equal(together, alone)


def test_a_substitute_is_of_similar_height_or_of_the_nearest_that_was_drawn() -> None:
    height = table(400).heights(np.arange(400))
    rows = np.arange(300)
    drawn = make_order(400, 300).substitutes("mri", np.arange(300), rows, 0)

    distance = np.abs(height[drawn] - height[rows])
    assert (distance <= MAX_HEIGHT_DIFFERENCE).mean() > 0.9  # a tenth of all slices is near
    assert distance.max() <= 1.01 / 9  # the next slice of a volume


def test_attempts_and_domains_draw_different_substitutes() -> None:
    order = make_order(400, 400)
    draws = {
        int(order.substitutes(modality, np.array([5]), np.array([33]), attempt)[0])
        for modality in ("mri", "ct")
        for attempt in range(ATTEMPTS)
    }

    assert len(draws) > ATTEMPTS  # of 16, among 40 slices of that height


@given(
    shards=st.integers(1, 9),
    shard_size=st.integers(1, 4),
    step=st.integers(0, 10**6),
    partner=PARTNERS,
    data=st.data(),
)
def test_a_step_holds_the_same_samples_on_any_number_of_workers(
    shards: int, shard_size: int, step: int, partner: Partner, data: st.DataObject
) -> None:
    order = make_order(partner=partner, shards=shards, shard_size=shard_size)
    world_size = data.draw(st.integers(1, shards))

    shares = [
        pairs(order.samples(order.indices(step, order.batch.shards_of(rank, world_size))))
        for rank in range(world_size)
    ]

    whole = np.arange(step * shards * shard_size, (step + 1) * shards * shard_size)
    np.testing.assert_array_equal(np.concatenate(shares), pairs(order.samples(whole)))


@given(first=st.integers(0, 10**9), partner=PARTNERS)
def test_a_sample_is_the_same_alone_and_among_others(first: int, partner: Partner) -> None:
    order = make_order(partner=partner)
    indices = first + np.arange(5)

    together = order.samples(indices)

    for place, index in enumerate(indices):
        alone = order.samples(np.array([index]))
        np.testing.assert_array_equal(pairs(alone)[0], pairs(together)[place])
        for one, many in [(alone.mri, together.mri), (alone.ct, together.ct)]:
            for name in ("flip", "rotate_degrees", "zoom", "shift", "gain"):
                np.testing.assert_array_equal(
                    getattr(one.augmentation, name)[0], getattr(many.augmentation, name)[place]
                )


def test_pairs_change_from_epoch_to_epoch() -> None:
    order = make_order(num_mri=40, num_ct=40)

    epochs = [pairs(order.samples(epoch * 40 + np.arange(40))) for epoch in range(4)]

    partner_of = [dict(map(tuple, epoch)) for epoch in epochs]
    same = sum(partner_of[0][mri] == partner_of[1][mri] for mri in range(40))
    assert same < 8
    assert len({epoch.tobytes() for epoch in epochs}) == 4


@pytest.mark.parametrize(("num_mri", "num_ct"), [(400, 300), (300, 400)])
def test_partners_by_position_have_a_similar_height(num_mri: int, num_ct: int) -> None:
    def mean_distance(partner: Partner) -> float:
        samples = make_order(num_mri, num_ct, partner).samples(np.arange(400))
        height = [table(400).heights(s.row) for s in (samples.mri, samples.ct)]
        return float(np.abs(height[0] - height[1]).mean())

    assert mean_distance("position") < 0.05  # slices lie 0.11 apart
    assert mean_distance("random") > 0.3


def uneven(size: int, power: float) -> SliceTable:
    """Slices that crowd towards the bottom of the head the more, the higher the power."""
    places = np.arange(size, dtype=np.int32)
    steps = np.rint(np.linspace(0, 1, size) ** power * SLICE_STEPS).astype(np.int32)
    return SliceTable(
        volume=places,
        first=steps,
        lowest=np.zeros(size, np.float32),
        highest=np.full(size, SLICE_STEPS, np.float32),
        end=places.astype(np.int64) + 1,
    )


@pytest.mark.parametrize(("num_mri", "num_ct"), [(400, 300), (300, 400)])
def test_partners_by_position_show_the_same_mix_of_heights_from_uneven_domains(
    num_mri: int, num_ct: int
) -> None:
    """What one domain has more of than the other, the networks would learn to add or to remove."""
    mri, ct = uneven(num_mri, 1.0), uneven(num_ct, 3.0)

    def difference(partner: Partner) -> float:
        order = replace(make_order(partner=partner), mri=mri, ct=ct)
        samples = order.samples(np.arange(4000))
        shown = mri.heights(samples.mri.row), ct.heights(samples.ct.row)
        return float(stats.wasserstein_distance(*shown))  # in heights of a head

    assert difference("position") < 0.025  # half of what one pair may differ by
    assert difference("random") > 0.2


def test_partners_by_position_still_vary() -> None:
    samples = make_order(400, 300, "position").samples(np.arange(0, 4000))

    first = samples.ct.row[samples.mri.row == 0]  # one MRI slice, ten epochs
    assert len(first) == 10
    assert len(set(first)) > 4


def test_all_of_the_other_domain_serves_as_partner() -> None:
    samples = make_order(400, 300, "position").samples(np.arange(4000))

    assert len(set(samples.ct.row)) == 300


@pytest.mark.parametrize(("slices", "steps"), [(1, 1), (8, 1), (9, 2), (40, 5)])
def test_steps_of_an_epoch_cover_the_larger_domain(slices: int, steps: int) -> None:
    assert make_order(slices, 1, shards=4, shard_size=2).steps_per_epoch == steps
