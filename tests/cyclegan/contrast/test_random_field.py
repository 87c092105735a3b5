"""Neighbours: who they are, what is usual, and what a voxel makes of them."""

import itertools

import numpy as np
import pytest

from cyclegan.contrast.random_field import NeighbourCounts, mean_field, neighbours_of

BODY = np.random.default_rng(0).random((3, 4, 5)) < 0.7


def test_the_neighbours_are_those_in_the_body_and_nobody_for_the_rest():
    found = neighbours_of(BODY)

    where = [tuple(at) for at in np.argwhere(BODY)]
    for axis, (side, by) in itertools.product(range(3), enumerate((-1, 1))):
        for number, at in enumerate(where):
            beside = tuple(x + by * (a == axis) for a, x in enumerate(at))
            expected = where.index(beside) if beside in where else len(where)
            assert found[axis, side, number] == expected


def counted(body: np.ndarray, bins: np.ndarray, positions: np.ndarray) -> NeighbourCounts:
    return NeighbourCounts.of(body, bins, positions, num_bins=2, num_positions=3)


def counts(volumes: list[np.ndarray]) -> NeighbourCounts:
    body = np.ones(volumes[0].shape, bool)
    first, *others = (counted(body, bins.ravel(), np.zeros(bins.size, np.intp)) for bins in volumes)
    return sum(others, start=first)


HALVES = np.full((3, 2), 0.5, np.float32)
"""Every position has as much of both."""


def test_stripes_are_alike_along_and_unlike_across():
    stripes = np.indices((16, 16, 16))[1] % 2

    along_z, along_y, along_x = counts([stripes]).affinities(HALVES)

    for alike in (along_z, along_x):
        assert np.diag(alike) == pytest.approx(
            np.log(2), abs=0.02
        )  # twice the half that chance has
        assert alike[0, 1] < -3
    assert np.diag(along_y).max() < -3
    assert along_y[0, 1] == along_y[1, 0] == pytest.approx(np.log(2), abs=0.02)


def test_what_position_explains_says_nothing():
    random = np.random.default_rng(0)
    prior = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32)
    positions = np.indices((20, 20, 20))[0].ravel() // 10
    bins = (random.random(20**3) < prior[positions, 1]).astype(np.intp)

    found = counted(np.ones((20, 20, 20)), bins, positions).affinities(prior)

    assert np.abs(found).max() < 0.1


def test_counts_of_voxels_outside_the_body_are_left_out():
    body = np.zeros((2, 2, 2))
    body[0, 0, 0] = body[1, 1, 1] = 1
    found = counted(body, np.array([0, 1]), np.array([0, 0]))

    assert not found.bins.any()
    assert not found.affinities(HALVES).any()


ALIKE = np.log(np.array([[2, 0.05], [0.05, 2]]))[None].repeat(3, axis=0)


def test_without_strength_or_neighbours_the_posterior_stays():
    posterior = np.random.default_rng(0).dirichlet((1, 1), int(BODY.sum())).astype(np.float32)
    lonely = np.zeros((5, 5, 5))
    lonely[::2, ::2, ::2] = 1

    assert mean_field(posterior, BODY, ALIKE, strength=0) == pytest.approx(posterior, abs=1e-4)
    alone = np.full((27, 2), (0.3, 0.7), np.float32)
    assert mean_field(alone, lonely, ALIKE) == pytest.approx(alone, abs=1e-4)


def test_a_doubtful_voxel_follows_its_neighbours_and_a_sure_one_does_not():
    body = np.ones((3, 3, 3))
    for doubt, expected in ((0.45, 0), (1 - 1e-6, 1)):
        posterior = np.full((27, 2), (0.99, 0.01), np.float32)
        posterior[13] = 1 - doubt, doubt

        found = mean_field(posterior, body, ALIKE)

        assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert found[13].argmax() == expected


def test_two_voxels_agree_with_the_fixed_point_of_their_equations():
    body, strength = np.ones((1, 1, 2)), 0.3
    alone = np.array([[0.6, 0.4], [0.7, 0.3]])

    found = mean_field(alone.astype(np.float32), body, ALIKE, strength)

    expected = alone.copy()
    for _ in range(200):
        swapped = np.log(alone) + strength * expected[::-1] @ ALIKE[2]
        expected = np.exp(swapped) / np.exp(swapped).sum(axis=1, keepdims=True)
    assert found == pytest.approx(expected, abs=0.02)
