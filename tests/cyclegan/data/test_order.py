"""The order of slices is a promise: nothing is lost, nothing doubled, workers can come and go."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclegan.config import BatchConfig, DataConfig
from cyclegan.data.order import Order, Samples, SliceTable

Partner = Literal["random", "position"]

SIZES = st.integers(1, 60)
PARTNERS = st.sampled_from(["random", "position"])


def table(size: int) -> SliceTable:
    """`size` slices in volumes of ten, each named by its row."""
    rows = np.arange(size)
    return SliceTable(volume=rows // 10, slice=rows, height=rows % 10 / 9)


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
    return np.stack([samples.mri.slice, samples.ct.slice], axis=1)


@settings(deadline=None)  # a busy machine is not a failure
@given(num_mri=SIZES, num_ct=SIZES, partner=PARTNERS, epoch=st.integers(0, 5))
def test_an_epoch_shows_every_slice_of_the_larger_domain_once(
    num_mri: int, num_ct: int, partner: Partner, epoch: int
) -> None:
    order = make_order(num_mri, num_ct, partner)
    larger = max(num_mri, num_ct)

    shown = pairs(order.samples(epoch * larger + np.arange(larger)))

    leader = shown[:, 0] if num_mri >= num_ct else shown[:, 1]
    np.testing.assert_array_equal(np.sort(leader), np.arange(larger))


@settings(deadline=None)  # a busy machine is not a failure
@given(num_mri=SIZES, num_ct=SIZES)
def test_the_smaller_domain_is_shown_in_whole_passes_too(num_mri: int, num_ct: int) -> None:
    order = make_order(num_mri, num_ct)
    smaller = min(num_mri, num_ct)

    shown = pairs(order.samples(np.arange(3 * smaller)))

    follower = shown[:, 1] if num_mri >= num_ct else shown[:, 0]
    for one_pass in follower.reshape(3, smaller):
        np.testing.assert_array_equal(np.sort(one_pass), np.arange(smaller))


@settings(deadline=None)  # a busy machine is not a failure
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


@settings(deadline=None)  # a busy machine is not a failure
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
                    getattr(one.variation, name)[0], getattr(many.variation, name)[place]
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
        height = [table(400).height[s.slice] for s in (samples.mri, samples.ct)]
        return float(np.abs(height[0] - height[1]).mean())

    assert mean_distance("position") < 0.05  # slices lie 0.11 apart
    assert mean_distance("random") > 0.3


def test_partners_by_position_still_vary() -> None:
    samples = make_order(400, 300, "position").samples(np.arange(0, 4000))

    first = samples.ct.slice[samples.mri.slice == 0]  # one MRI slice, ten epochs
    assert len(first) == 10
    assert len(set(first)) > 4


def test_all_of_the_other_domain_serves_as_partner() -> None:
    samples = make_order(400, 300, "position").samples(np.arange(4000))

    assert len(set(samples.ct.slice)) == 300


@pytest.mark.parametrize(("slices", "steps"), [(1, 1), (8, 1), (9, 2), (40, 5)])
def test_steps_of_an_epoch_cover_the_larger_domain(slices: int, steps: int) -> None:
    assert make_order(slices, 1, shards=4, shard_size=2).steps_per_epoch == steps
