"""Learning rates follow their published shapes over the whole run, and never climb again."""

import pytest

from cyclegan.train.engine.lr_schedule import rate_factor


def test_cosine_ends_at_zero_with_the_run():
    factors = [rate_factor(step, 100, "cosine") for step in range(101)]

    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)


def test_linear_is_constant_for_half_of_the_run():
    assert [rate_factor(step, 100, "linear") for step in (0, 50, 75, 100)] == [1, 1, 0.5, 0]


def test_constant_stays():
    assert {rate_factor(step, 10, "constant") for step in range(11)} == {1.0}


def test_warmup_rises_in_equal_steps():
    factors = [rate_factor(step, 100, "constant", warmup_steps=3) for step in range(5)]

    assert factors == [0.25, 0.5, 0.75, 1, 1]


def test_linear_can_begin_to_fall_anywhere():
    factors = [rate_factor(step, 100, "linear", decay_start=0.2) for step in (0, 20, 60, 100)]

    assert factors == pytest.approx([1, 1, 0.5, 0])
