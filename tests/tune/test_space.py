"""A space holds only what the configuration takes, so that no sample can fail for its values."""

from pathlib import Path

import pytest

from cyclegan.errors import ConfigError
from cyclegan.presets import default, demo
from tune.space import SPACES, Choice, Range, apply, load_space, to_yaml, values_of


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SPACES)
def test_built_in_spaces_hold_the_default_and_survive_their_own_file(name, tmp_path):
    space = load_space(name, default())

    assert values_of(default(), space) is not None
    assert load_space(written(tmp_path, to_yaml(space)), default()) == space


def test_a_file_gives_ranges_and_choices(tmp_path):
    # YAML takes 1e-4 for text; people take it for a number.
    source = written(
        tmp_path,
        "optimizer.learning_rate: {low: 1e-4, high: 0.001, log: true}\n"
        "critic.norm: {choice: [none, instance]}\n",
    )

    assert load_space(source, default()) == {
        "optimizer.learning_rate": Range(low=1e-4, high=1e-3, log=True),
        "critic.norm": Choice(choice=("none", "instance")),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss.cycel_weight: {low: 1, high: 2}", "loss.cycel_weight, which is no setting"),
        ("run.storage: {choice: [a, b]}", "run.storage, which is no setting"),
        ("loss.cycle_weight: {low: 1, hihg: 2}", "want {low, high, log}"),
        ("loss.cycle_weight: {low: 1, high: 2, lgo: true}", "no setting lgo"),
        ("loss.cycle_weight: {low: 2, high: 1}", "a range must rise"),
        ("loss.cycle_weight: {low: 0, high: 1, log: true}", "begin above 0"),
        ("loss.cycle_weight: {low: -1, high: 1}", "must be 0 or more"),
        ("loss.cycle_weight: {low: few, high: many}", "could not convert"),
        ("train.pool_size: {low: 1, high: 50}", "List some values"),
        ("train.pool_size: {choice: [1, 2.5]}", "2.5, but it takes int"),
        ("optimizer.schedule: {choice: [cosinus]}", "one of constant, linear, cosine"),
        ("optimizer.schedule: {choice: []}", "at least one value"),
        ("- 3", "must hold settings"),
        ("a: [", "neither a space nor a YAML file"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(text, message, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        load_space(written(tmp_path, text), default())

    assert message in str(refusal.value)


def test_a_space_that_is_nowhere_lists_those_that_are():
    with pytest.raises(ConfigError, match="loss-weights"):
        load_space("los-weights", default())


def test_applying_values_changes_them_alone():
    changed = apply(default(), {"loss.cycle_weight": 3.5, "optimizer.schedule": "linear"})

    assert (changed.loss.cycle_weight, changed.optimizer.schedule) == (3.5, "linear")
    back = {"loss.cycle_weight": 10.0, "optimizer.schedule": "cosine"}
    assert apply(changed, back) == default()


def test_a_term_that_is_off_lies_outside_a_logarithmic_range():
    assert demo().loss.ssim_weight == 0
    assert values_of(demo(), SPACES["loss-weights"]) is None
