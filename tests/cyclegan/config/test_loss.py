"""A loss term has a switch, a weight and a schedule, which is a pure function of the step."""

import pytest
import tyro

from cyclegan.config.config import Config
from cyclegan.config.loss import LossConfig, Term
from cyclegan.errors import ConfigError


def test_a_constant_term_keeps_its_weight():
    loss = LossConfig()

    assert {loss.at(step, 100).cycle.weight for step in (0, 50, 99)} == {10.0}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("rise", [1.0, 2.0, 8.0, 8.0]), ("fall", [7.0, 6.0, 0.0, 0.0])],
)
def test_a_weight_goes_in_a_straight_line_over_its_share_of_the_run(schedule, expected):
    loss = LossConfig(ssim=Term(weight=8.0, schedule=schedule), schedule_share=0.5)

    weights = [loss.at(step, 16).ssim.effective_weight for step in (0, 1, 7, 15)]

    assert weights == pytest.approx(expected)


def test_a_term_that_is_off_weighs_nothing_and_keeps_its_weight_for_later():
    loss = LossConfig(cycle=Term(enabled=False, weight=10.0))

    assert loss.cycle.effective_weight == loss.at(3, 10).cycle.effective_weight == 0
    assert loss.cycle.weight == 10


TAUGHT_BY = {"paired": ["--data.use-pairs"], "anchor": ["--data.companions", 16 * "0"]}
"""Terms that need data of their own."""


@pytest.mark.parametrize("name", LossConfig().terms)
def test_every_term_has_a_switch_a_weight_and_a_schedule_on_the_command_line(name):
    flags = {"enabled": [], "weight": ["2"], "schedule": ["fall"]}
    words = [word for flag, value in flags.items() for word in (f"--loss.{name}.{flag}", *value)]

    loss = tyro.cli(Config, args=[*words, *TAUGHT_BY.get(name, ())]).loss
    off = tyro.cli(Config, args=[f"--loss.{name}.no-enabled"]).loss

    assert loss.terms[name] == Term(weight=2.0, schedule="fall")
    assert off.terms[name].effective_weight == 0


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"loss\.schedule_share must lie in \(0, 1\]"):
        LossConfig(schedule_share=0)
