"""A space holds only what the configuration takes, so that no sample can fail for its values."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.config.files import with_settings
from cyclegan.config.presets import default, demo, reference
from cyclegan.errors import ConfigError
from tune.space.space import (
    SPACES,
    Choice,
    Range,
    apply_values,
    draw_values,
    grid,
    perturb_values,
    values_of,
)

BASE = replace(default(), train=replace(default().train, max_steps=1000))


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 10**6))
def test_every_point_is_a_valid_configuration(name, seed):
    random = Random(seed)

    point = draw_values(SPACES[name], BASE, random)
    beside = perturb_values(point, SPACES[name], BASE, random)

    # Building a configuration checks it.
    apply_values(BASE, point)
    apply_values(BASE, beside)
    for values in (point, beside):
        assert all(SPACES[name][key].holds(value) for key, value in values.items())


@pytest.mark.parametrize("name", SPACES)
def test_a_term_has_a_weight_where_it_is_on_and_none_where_it_is_off(name):
    points = [draw_values(SPACES[name], BASE, Random(seed)) for seed in range(50)]

    assert {point["loss.ssim.enabled"] for point in points} == {True, False}
    for point in points:
        assert ("loss.ssim.weight" in point) == point["loss.ssim.enabled"]
        assert apply_values(BASE, point).loss.ssim.effective_weight == point.get(
            "loss.ssim.weight", 0
        )


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("preset", [default, demo, reference])
def test_the_base_lies_in_its_own_space_and_comes_back_from_it(name, preset):
    base = replace(preset(), train=replace(preset().train, max_steps=1500))

    values = values_of(base, SPACES[name], base)
    same = apply_values(base, values)

    weights = [
        {name: term.effective_weight for name, term in config.loss.terms.items()}
        for config in (same, base)
    ]
    assert weights[0] == weights[1]
    assert replace(same, loss=base.loss) == base


def test_the_reference_recipe_in_the_words_of_a_space():
    values = values_of(reference(), SPACES["full"], BASE)
    config = apply_values(BASE, values)

    weights = [
        term.effective_weight
        for term in (config.loss.cycle, config.loss.identity, config.loss.ssim)
    ]
    assert weights == [10, 5, 0]
    assert (config.optimizer.schedule, config.optimizer.decay_start) == ("linear", 0.5)
    assert (config.data.partner, config.data.rotate_degrees) == ("random", 0)
    assert config.train.pool_size == 50


def test_applying_values_changes_them_alone():
    changed = apply_values(BASE, {"loss.cycle.weight": 3.5, "optimizer.schedule": "linear"})

    assert (changed.loss.cycle.weight, changed.optimizer.schedule) == (3.5, "linear")
    back = {"loss.cycle.weight": 10.0, "optimizer.schedule": "cosine"}
    assert apply_values(changed, back) == BASE


def test_a_logarithmic_range_gives_each_decade_its_share():
    values = [Range(low=0.01, high=100.0, log=True).draw(Random(seed)) for seed in range(2000)]

    below_one = sum(float(value) < 1 for value in values) / len(values)
    assert below_one == pytest.approx(0.5, abs=0.04)


def test_a_grid_has_all_combinations_and_no_weight_of_what_is_off():
    space = {
        "loss.ssim.enabled": Choice(choice=(True, False)),
        "loss.ssim.weight": Range(low=0.1, high=10.0, log=True, when={"loss.ssim.enabled": True}),
        "loss.cycle.weight": Range(low=1.0, high=3.0),
    }

    points = grid(space, BASE, 3)

    assert len(points) == (3 + 1) * 3
    assert {"loss.ssim.enabled": False, "loss.cycle.weight": 2.0} in points
    weights = {
        round(float(point["loss.ssim.weight"]), 6) for point in points if point["loss.ssim.enabled"]
    }
    assert weights == {0.1, 1.0, 10.0}


def test_a_grid_that_nobody_can_train_is_refused_and_not_built():
    with pytest.raises(ConfigError, match="more than 10,000 points"):
        grid(SPACES["full"], BASE, 3)


def test_weights_have_schedules_where_their_terms_are_on():
    space = SPACES["weights-and-schedules"]
    points = [draw_values(space, BASE, Random(seed)) for seed in range(60)]

    for name in ("loss.cycle", "loss.population"):
        schedules = {point.get(f"{name}.schedule") for point in points}
        assert schedules >= {"constant", "rise", "fall"}
    for point in points:
        term = apply_values(BASE, point).loss.population
        assert term.schedule == point.get("loss.population.schedule", "constant")
        assert ("loss.population.schedule" in point) == term.enabled
    assert {"loss.schedule_share", "optimizer.decay_start", "warmup_share"} < set(space)


def test_a_condition_on_what_is_not_searched_looks_at_the_base():
    space = {"loss.ssim.weight": Range(low=0.1, high=1.0, when={"loss.ssim.enabled": True})}
    off = with_settings(BASE, {"loss.ssim.enabled": False})

    assert draw_values(space, off, Random(0)) == {}
    assert set(draw_values(space, BASE, Random(0))) == {"loss.ssim.weight"}


def test_exploring_moves_a_value_by_a_fifth_or_draws_it_anew():
    space = {"loss.cycle.weight": Range(low=1.0, high=100.0, log=True)}
    moved = [
        round(float(perturb_values({"loss.cycle.weight": 10.0}, space, BASE, Random(s))[name]), 6)
        for s in range(400)
        for name in space
    ]

    near = [value for value in moved if value in (8.0, 12.0)]
    assert {8.0, 12.0} <= set(near)
    assert len(near) / len(moved) == pytest.approx(0.75, abs=0.07)
