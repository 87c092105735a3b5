"""A range test ends where the loss diverges, and suggests a rate well below."""

import re

import pytest
from PIL import Image

from cyclegan.train.__main__ import main
from cyclegan.train.find_rate import LOWEST_RATE, SAFETY_FACTOR, RateTest, find_rate


def test_the_suggestion_is_a_tenth_of_the_rate_of_the_lowest_mean_loss():
    rates = [10**-6, 10**-5, 10**-4, 10**-3, 10**-2]
    found = RateTest(rates=rates, losses=[8.0, 7.0, 3.0, 4.0, 90.0], discriminator_ratio=2.0)

    # The first means by hand: 8, then (.9 x .1 x 8 + .1 x 7) / .19.
    assert found.means[:2] == pytest.approx([8, (0.09 * 8 + 0.1 * 7) / 0.19])
    assert found.lowest_at == 10**-3
    assert found.suggestion == pytest.approx(10**-3 / SAFETY_FACTOR)
    assert "diverged at 1.0e-02 (5 steps)" in str(found)
    assert "--optimizer.discriminator-learning-rate 2.0e-04" in str(found)


def test_a_run_is_tested_at_rising_rates_and_leaves_a_picture(config, capsys):
    path = config.run_folder / "learning_rates.png"
    command = ["smoke", "--data.store", config.data.store, "--run.storage", config.run.storage]

    main([*command, "--run.name", config.run.name, "--find-rate"])

    printed = capsys.readouterr().out
    suggested = float(re.search(r"--optimizer.learning-rate (\S+)", printed)[1])
    assert LOWEST_RATE / SAFETY_FACTOR <= suggested < 0.05
    assert str(path) in printed
    with Image.open(path) as picture:
        assert picture.size[0] > 300
    assert [each.name for each in config.run_folder.iterdir()] == [path.name]


def test_the_test_ends_at_a_rate_that_no_network_survives(config, store, monkeypatch):
    monkeypatch.setattr("cyclegan.train.find_rate.HIGHEST_RATE", 1e9)

    found = find_rate(config, store)

    assert found.ended_at_divergence
    assert found.rates[-1] < 1e9
