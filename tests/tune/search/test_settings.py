"""A search's folder belongs to one search, and the first trials are the known recipes."""

from dataclasses import replace

import pytest

from cyclegan.errors import ConfigError
from mrct.errors import UsageError
from tests.support.searches import BASE, WEIGHTS, base_config, ended, settings, write_search
from tune.search.settings import (
    check_population,
    default_look_steps,
    draw_for,
    load_settings,
    num_trials,
    open_folder,
)
from tune.space.space import SPACES, Choice, apply_values
from tune.time_budget import seconds

SOME = ended("t000", {2: 1.0}, "done")


def test_a_search_never_writes_over_another_and_goes_on_when_asked(tmp_path):
    log = write_search(tmp_path / "s")

    with pytest.raises(ConfigError, match=r"never writes over it.*--resume"):
        open_folder(settings(tmp_path / "s"), BASE, WEIGHTS, resume=False)
    taken_up = open_folder(settings(tmp_path / "s"), BASE, WEIGHTS, resume=True)

    assert taken_up.trials == log.trials


def test_a_comparison_searches_nothing_and_goes_on_where_it_was_stopped(tmp_path):
    open_folder(settings(tmp_path / "s"), BASE, {}, resume=True)
    assert open_folder(settings(tmp_path / "s"), BASE, {}, resume=True).trials == []


@pytest.mark.parametrize(
    ("changed", "base", "space", "message"),
    [
        ({"scheduler": "pbt"}, BASE, WEIGHTS, "scheduler: asha -> pbt"),
        ({"metric": "val/ssim"}, BASE, WEIGHTS, "metric: val/selection -> val/ssim"),
        ({}, base_config(steps=99), WEIGHTS, "train.max_steps: 18 -> 99"),
        ({}, BASE, SPACES["full"], "space: optimizer.schedule"),
    ],
)
def test_another_search_under_the_same_name_is_told_what_differs(
    tmp_path, changed, base, space, message
):
    write_search(tmp_path / "s")

    with pytest.raises(ConfigError, match=message):
        open_folder(settings(tmp_path / "s", **changed), base, space, resume=True)


def test_more_trials_and_more_room_are_no_other_search(tmp_path):
    write_search(tmp_path / "s")
    more = settings(tmp_path / "s", trials=40, max_concurrent=3, time_budget_s=60.0)

    open_folder(more, BASE, WEIGHTS, resume=True)


def test_a_folder_that_a_kill_left_half_made_begins_anew(tmp_path):
    write_search(tmp_path / "s")
    (tmp_path / "s" / "search.json").unlink()
    (tmp_path / "s" / "trials.jsonl").unlink()

    assert open_folder(settings(tmp_path / "s"), BASE, WEIGHTS, resume=False).trials == []


def test_a_folder_that_holds_no_search_is_refused(tmp_path):
    with pytest.raises(UsageError, match="contains no search"):
        load_settings(tmp_path)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_the_preset_and_the_reference_recipe_come_first(tmp_path, sampler, scheduler):
    names = ("loss.cycle.weight", "loss.ssim.enabled", "loss.ssim.weight")
    space = {name: WEIGHTS[name] for name in names}
    changed = settings(tmp_path, sampler=sampler, scheduler=scheduler, trials=14)
    draw = draw_for(changed, BASE, space)

    (own, first), (published, second) = draw([]), draw([SOME])

    assert (first, second) == ("base", "reference")
    assert (
        apply_values(BASE, own).loss.ssim.effective_weight == BASE.loss.ssim.effective_weight == 1
    )
    assert apply_values(BASE, published).loss.ssim.effective_weight == 0


def test_a_preset_that_is_the_reference_recipe_comes_once(tmp_path):
    space = {"loss.cycle.weight": WEIGHTS["loss.cycle.weight"]}
    draw = draw_for(settings(tmp_path), BASE, space)

    assert [draw([])[1], draw([SOME])[1]] == ["base", ""]


def test_a_grid_is_walked_once_and_whole(tmp_path):
    space = {
        "optimizer.schedule": Choice(choice=("linear", "cosine")),
        "train.pool_size": Choice(choice=(0, 4)),
    }
    count = num_trials("grid", BASE, space, 3)
    draw = draw_for(settings(tmp_path, sampler="grid", trials=count), BASE, space)

    points = [draw([SOME] * number)[0] for number in range(count)]

    # The preset is one of the four; the reference recipe has a pool of 50.
    assert count == 5
    assert len({str(sorted(point.items())) for point in points}) == 5


def test_a_grid_with_more_points_than_trials_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"This grid has .* trials, and --trials 20"):
        draw_for(settings(tmp_path, sampler="grid", trials=20), BASE, WEIGHTS)


def test_a_population_cannot_change_the_networks_or_the_pools(tmp_path):
    pbt = settings(tmp_path, scheduler="pbt")
    check_population(pbt, SPACES["weights-and-schedules"])
    check_population(settings(tmp_path), SPACES["full"])

    with pytest.raises(ConfigError, match=r"train\.pool_size, which cannot change during a run"):
        check_population(pbt, SPACES["full"])
    with pytest.raises(ConfigError, match="at least 2"):
        check_population(replace(pbt, trials=1), WEIGHTS)


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("1.5h", 5400), ("1d", 86400)]
)
def test_a_time_is_a_number_and_a_unit(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["8", "h", "8 h", "-1h", "0h", "8hours"])
def test_another_time_is_refused(text):
    with pytest.raises(UsageError, match="8h, 30m or 90s"):
        seconds(text)


def test_the_first_look_leaves_room_for_two_rungs():
    assert [default_look_steps(steps) for steps in (900, 9, 3)] == [100, 1, 1]
