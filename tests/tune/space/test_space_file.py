"""A space from a file is checked before anything is trained, and a mistake in it is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.presets import default
from cyclegan.errors import ConfigError
from tune.space.space import SPACES, Choice, Range
from tune.space.space_file import load_space, to_yaml

BASE = replace(default(), train=replace(default().train, max_steps=1000))


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SPACES)
def test_built_in_spaces_survive_their_own_file(name, tmp_path):
    space = load_space(name, BASE)

    assert load_space(written(tmp_path, to_yaml(space)), BASE) == space


def test_a_file_gives_ranges_choices_dials_and_conditions(tmp_path):
    # YAML takes 1e-4 for text; people take it for a number.
    source = written(
        tmp_path,
        "optimizer.learning_rate: {low: 1e-4, high: 0.001, log: true}\n"
        "optimizer.schedule: {choice: [linear, cosine]}\n"
        "optimizer.decay_start: {low: 0, high: 0.5, when: {optimizer.schedule: linear}}\n"
        "warmup_share: {low: 0, high: 0.1}\n",
    )

    assert load_space(source, BASE) == {
        "optimizer.learning_rate": Range(low=1e-4, high=1e-3, log=True),
        "optimizer.schedule": Choice(choice=("linear", "cosine")),
        "optimizer.decay_start": Range(low=0, high=0.5, when={"optimizer.schedule": "linear"}),
        "warmup_share": Range(low=0, high=0.1),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss.cycel.weight: {low: 1, high: 2}", "loss.cycel.weight, which is not a setting"),
        ("run.storage: {choice: [a, b]}", "run.storage, which is not a setting"),
        ("loss.cycle.weight: {low: 1, hihg: 2}", "Expected {low, high, log"),
        ("loss.cycle.weight: {low: 1, high: 2, lgo: true}", "no setting lgo"),
        ("loss.cycle.weight: {low: 2, high: 1}", "A range must have low < high"),
        ("loss.cycle.weight: {low: 0, high: 1, log: true}", "begin above 0"),
        ("loss.cycle.weight: {low: -1, high: 1}", "must be 0 or more"),
        ("loss.cycle.weight: {low: few, high: many}", "could not convert"),
        ("train.pool_size: {low: 1, high: 50}", "List some values"),
        ("train.pool_size: {choice: [1, 2.5]}", "2.5, but it takes int"),
        ("optimizer.schedule: {choice: [cosinus]}", "one of constant, linear, cosine"),
        ("optimizer.schedule: {choice: []}", "at least one value"),
        ("- 3", "must contain settings"),
        ("a: [", "neither a space nor a YAML file"),
        ("discriminator_rate_ratio: {low: 0, high: 1}", "a number from 0.001 to 1000"),
        ("warmup_share: {choice: [yes, 0.1]}", "the value True; it must be a number"),
        (
            "loss.ssim.weight: {low: 1, high: 2, when: {loss.sism.enabled: true}}",
            "loss.sism.enabled, which is not a setting",
        ),
        (
            "loss.ssim.weight: {low: 1, high: 2, when: {loss.ssim.enabled: 1}}",
            "when loss.ssim.enabled is 1, but loss.ssim.enabled takes bool",
        ),
        (
            "loss.ssim.weight: {low: 1, high: 2, when: {loss.ssim.enabled: true}}\n"
            "loss.ssim.enabled: {choice: [true, false]}",
            "must be above it",
        ),
        (
            "loss.ssim.enabled: {choice: [false]}\n"
            "loss.ssim.weight: {low: 1, high: 2, when: {loss.ssim.enabled: true}}",
            "which loss.ssim.enabled never is",
        ),
        (
            "data.dtype: {choice: [float32, float16]}\ntrain.precision: {choice: [fp16, bf16]}",
            "data.dtype is float16",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(text, message, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        load_space(written(tmp_path, text), BASE)

    assert message in str(refusal.value)


def test_a_space_that_is_nowhere_lists_those_that_are():
    with pytest.raises(ConfigError, match="weights, weights-and-schedules, full"):
        load_space("wieghts", BASE)
