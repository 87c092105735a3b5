"""Random numbers that depend on (seed, stream, index) and on nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclegan.data.philox import Stream, permutation, uniforms

SEEDS = st.integers(0, 2**63)


def test_the_numbers_are_those_of_numpys_philox() -> None:
    generator = np.random.Generator(np.random.Philox(key=[7, Stream.PARTNER], counter=0))

    ours = uniforms(7, Stream.PARTNER, np.arange(50), count=4)

    np.testing.assert_array_equal(ours, generator.random((50, 4)))


@settings(deadline=None)  # a busy machine is not a failure
@given(seed=SEEDS, first=st.integers(0, 10**12), count=st.integers(1, 9))
def test_an_index_gives_the_same_numbers_alone_and_among_others(
    seed: int, first: int, count: int
) -> None:
    indices = np.array([first + 5, first, first + 3])

    together = uniforms(seed, Stream.CT_VARIATION, indices, count)

    alone = [uniforms(seed, Stream.CT_VARIATION, indices[[i]], count)[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)


def test_seeds_and_streams_have_nothing_in_common() -> None:
    words = np.concatenate(
        [
            uniforms(seed, stream, np.arange(100), count=6).ravel()
            for seed in range(3)
            for stream in Stream
        ]
    )

    assert len(np.unique(words)) == len(words)


def test_numbers_fill_the_interval_evenly() -> None:
    u = uniforms(0, Stream.MRI_VARIATION, np.arange(20_000), count=5)

    shares = np.stack([np.histogram(column, bins=10, range=(0, 1))[0] for column in u.T]) / 20_000
    np.testing.assert_allclose(shares, 0.1, atol=0.01)  # five standard deviations


@settings(deadline=None)  # a busy machine is not a failure
@given(seed=SEEDS, epoch=st.integers(0, 10**6), size=st.integers(1, 300))
def test_a_permutation_holds_every_number_once(seed: int, epoch: int, size: int) -> None:
    order = permutation(seed, Stream.MRI_ORDER, epoch, size)

    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_every_epoch_seed_and_domain_has_its_own_permutation() -> None:
    orders = {
        tuple(permutation(seed, stream, epoch, 40))
        for seed in range(3)
        for stream in (Stream.MRI_ORDER, Stream.CT_ORDER)
        for epoch in range(5)
    }

    assert len(orders) == 3 * 2 * 5
