"""Random numbers that depend on (seed, stream, index) and on nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cyclegan.data.philox import Stream, permute, raw_bytes, uniforms

SEEDS = st.integers(0, 2**63)


def test_the_numbers_are_those_of_numpys_philox() -> None:
    generator = np.random.Generator(np.random.Philox(key=[7, Stream.PARTNER], counter=0))

    ours = uniforms(7, Stream.PARTNER, np.arange(50), count=4)

    np.testing.assert_array_equal(ours, generator.random((50, 4)))


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


def permutation(seed: int, stream: Stream, epoch: int, size: int) -> np.ndarray:
    return permute(seed, stream, epoch, size, np.arange(size))


@given(seed=SEEDS, epoch=st.integers(0, 10**6), size=st.integers(1, 300))
def test_a_permutation_holds_every_number_once(seed: int, epoch: int, size: int) -> None:
    order = permutation(seed, Stream.MRI_ORDER, epoch, size)

    np.testing.assert_array_equal(np.sort(order), np.arange(size))


@given(size=st.integers(1, 10**12), data=st.data())
def test_a_place_of_a_permutation_costs_the_same_at_any_size(
    size: int, data: st.DataObject
) -> None:
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True)))

    values = permute(3, Stream.CT_ORDER, 5, size, places)

    assert len(set(values)) == len(places)
    assert ((values >= 0) & (values < size)).all()
    for place, value in zip(places, values, strict=True):
        assert permute(3, Stream.CT_ORDER, 5, size, np.array([place])) == value


def test_every_epoch_seed_and_domain_has_its_own_permutation() -> None:
    orders = {
        tuple(permutation(seed, stream, epoch, 40))
        for seed in range(3)
        for stream in (Stream.MRI_ORDER, Stream.CT_ORDER)
        for epoch in range(5)
    }

    assert len(orders) == 3 * 2 * 5


@pytest.mark.parametrize("size", [3, 20])
def test_every_number_comes_to_every_place_equally_often(size: int) -> None:
    orders = np.stack([permutation(1, Stream.MRI_ORDER, epoch, size) for epoch in range(1500)])

    counts = np.stack([np.bincount(column, minlength=size) for column in orders.T])

    # Pearson's test over all (place, number) cells; (size - 1)^2 degrees of freedom.
    expected = len(orders) / size
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi2, (size - 1) ** 2) > 1e-3


def test_neighbours_in_a_permutation_have_nothing_in_common() -> None:
    order = permutation(2, Stream.MRI_ORDER, 0, 100_000).astype(float)

    for lag in (1, 2, 16, 256):
        assert abs(np.corrcoef(order[:-lag], order[lag:])[0, 1]) < 0.01  # three deviations


def test_the_bytes_of_a_stream_are_those_of_numpys_philox() -> None:
    generator = np.random.Generator(np.random.Philox(key=[7, Stream.MRI_NOISE], counter=0))

    assert raw_bytes(7, Stream.MRI_NOISE, 40).tobytes() == generator.bytes(40)
