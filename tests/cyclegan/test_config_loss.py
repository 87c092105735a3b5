"""A loss term has a switch, a weight and a schedule, which is a pure function of the step."""

import pytest
import tyro

from cyclegan.config import Config
from cyclegan.config_loss import TERMS, LossConfig
from cyclegan.errors import ConfigError


def test_a_constant_term_keeps_its_weight():
    loss = LossConfig()

    assert {loss.at(step, 100).cycle_weight for step in (0, 50, 99)} == {10.0}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("rise", [1.0, 2.0, 8.0, 8.0]), ("fall", [7.0, 6.0, 0.0, 0.0])],
)
def test_a_weight_goes_in_a_straight_line_over_its_share_of_the_run(schedule, expected):
    loss = LossConfig(ssim_weight=8.0, ssim_schedule=schedule, schedule_share=0.5)

    weights = [loss.at(step, 16).weight("ssim") for step in (0, 1, 7, 15)]

    assert weights == pytest.approx(expected)


def test_a_term_that_is_off_weighs_nothing_and_keeps_its_weight_for_later():
    loss = LossConfig(cycle=False)

    assert loss.weight("cycle") == loss.at(3, 10).weight("cycle") == 0
    assert loss.cycle_weight == 10


@pytest.mark.parametrize("term", TERMS)
def test_every_term_has_a_switch_a_weight_and_a_schedule_on_the_command_line(term):
    flags = [f"--loss.{term}", f"--loss.{term}-weight", "2", f"--loss.{term}-schedule", "fall"]

    loss = tyro.cli(Config, args=flags).loss

    assert getattr(loss, term)
    assert (getattr(loss, f"{term}_weight"), getattr(loss, f"{term}_schedule")) == (2.0, "fall")
    assert not getattr(tyro.cli(Config, args=[f"--loss.no-{term}"]).loss, term)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"loss\.schedule_share must lie in \(0, 1\]"):
        LossConfig(schedule_share=0)
