"""An interval is read from what one would write, and anything else is refused with examples."""

from dataclasses import replace

import pytest

from cyclegan.config.config import Config, ScheduleConfig
from cyclegan.config.interval import Interval, parse_interval
from cyclegan.config.presets import PRESETS, preset
from cyclegan.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("auto", Interval("auto")),
        ("never", Interval("never")),
        ("1000 steps", Interval("steps", 1000)),
        ("1 step", Interval("steps", 1)),
        ("50_000 pairs", Interval("pairs", 50_000)),
        ("90 seconds", Interval("seconds", 90)),
        ("1.5 minutes", Interval("seconds", 90)),
        ("2hours", Interval("seconds", 7200)),
    ],
)
def test_an_interval_is_what_its_text_says(text, interval):
    assert parse_interval("schedule.save_every", text) == interval


@pytest.mark.parametrize(
    "text",
    ["", "1000", 1000, "0 steps", "-1 steps", "ten minutes", "1.5 steps", "5 days", "_ steps"],
)
def test_what_is_no_interval_is_refused_by_the_name_of_its_setting(text):
    with pytest.raises(ConfigError, match=r"schedule\.save_every is .*"):
        parse_interval("schedule.save_every", text)


def test_the_settings_are_parsed_when_they_are_given():
    for name in ("log_every", "validate_every", "save_every"):
        with pytest.raises(ConfigError, match=rf"schedule\.{name} is 'often'"):
            ScheduleConfig(**{name: "often"})


def test_log_lines_cannot_be_left_out():
    with pytest.raises(ConfigError, match=r"schedule\.log_every"):
        ScheduleConfig(log_every="never")


def test_steps_and_pairs_end_at_the_same_steps_on_every_worker():
    def ends(interval: Interval, batch: int) -> list[int]:
        return [step for step in range(1, 13) if interval.ends_at(step, batch)]

    assert ends(Interval("steps", 4), 8) == [4, 8, 12]
    assert ends(Interval("pairs", 32), 8) == [4, 8, 12]
    assert ends(Interval("pairs", 20), 8) == [3, 5, 8, 10]  # the first step with as many
    assert ends(Interval("pairs", 3), 8) == list(range(1, 13))
    assert not ends(Interval("seconds", 1), 8) + ends(Interval("never"), 8)


def test_a_deterministic_run_refuses_the_clock():
    config = preset("deterministic")

    with pytest.raises(ConfigError, match=r"schedule\.save_every is '5 minutes'.*steps or pairs"):
        replace(config, schedule=ScheduleConfig(save_every="5 minutes"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_that_are_no_quick_demonstration_follow_the_clock(name):
    schedule = preset(name).schedule
    quick = name in ("demo", "smoke")

    assert (schedule.save_every == schedule.validate_every == "auto") is not quick
    assert isinstance(preset(name), Config)
