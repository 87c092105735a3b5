"""Settings are checked as values: by type and choice, wherever a file states them."""

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import pytest

from cyclegan.config.config import Config
from cyclegan.config.files import config_hash, load_config, setting_types, to_yaml, with_settings
from cyclegan.config.presets import PRESETS, preset
from cyclegan.config.values import did_you_mean, typed
from cyclegan.errors import ConfigError

WRONG: dict[Any, tuple[object, ...]] = {
    bool: ("no", "true", 0, 1, None, [True]),
    int: ("two", 1.5, True, None, "1.5", [1], float("nan")),
    float: ("fast", True, None, "1e", "0x1", [1.0], float("inf"), "nan"),
    str: (5, 1.5, True, None, ["a"]),
}


def load(tmp_path, text: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(f"schema_version: 4\n{text}")
    return load_config(path)


def test_numbers_and_words_are_read_as_people_write_them(tmp_path):
    config = load(
        tmp_path,
        "optimizer: {learning_rate: 1e-4, clip_norm: 1}\n"
        "train: {max_steps: 1e3, compile: no, channels_last: yes, pool_size: 5_0}\n"
        "data: {zoom: [1, 1.2e0]}\n",
    )

    assert config.optimizer.learning_rate == 1e-4
    assert (config.train.max_steps, config.train.pool_size) == (1000, 50)
    assert isinstance(config.train.max_steps, int)
    assert config.optimizer.clip_norm == 1
    assert (config.train.compile, config.train.channels_last) == ("no", "yes")
    assert config.data.zoom == (1.0, 1.2)


@pytest.mark.parametrize("name", list(setting_types()))
def test_every_setting_refuses_values_of_other_types(name):
    hint = setting_types()[name]
    wrong = WRONG.get(hint, ("Inverted", 7, None, ["a"]))  # of choices and of pairs
    for value in wrong:
        with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
            with_settings(Config(), {name: value})


@pytest.mark.parametrize(
    "name", [n for n, t in setting_types().items() if get_origin(t) is Literal]
)
def test_a_flipped_letter_of_a_choice_is_refused_and_the_choice_is_proposed(name, tmp_path):
    for choice in get_args(setting_types()[name]):
        wrong = choice[:1] + choice[1:2].swapcase() + choice[2:]
        with pytest.raises(ConfigError, match=f"Did you mean '{choice}'"):
            with_settings(Config(), {name: wrong})


def test_a_flipped_bit_in_the_file_of_a_run_trains_and_exports_nothing(tmp_path):
    text = to_yaml(preset("default"))
    assert load_config_text(tmp_path, text) == preset("default")
    for wrong in ("inVerted", "Inverted", "anverted", "'inverted '", "plainn"):
        with pytest.raises(ConfigError, match="mri_contrast is"):
            load_config_text(tmp_path, text.replace("inverted", wrong))


@pytest.mark.parametrize("name", PRESETS)
def test_the_hash_of_a_configuration_is_that_of_its_file(name, tmp_path):
    assert config_hash(load_config_text(tmp_path, to_yaml(preset(name)))) == config_hash(
        preset(name)
    )


def load_config_text(tmp_path, text: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('train: {deterministic: "no"}', "deterministic is 'no'; it must be true or false"),
        ("batch: {shards: 2.5}", "shards is 2.5; it must be a whole number"),
        ("data: {zoom: [0.9]}", r"zoom is \[0.9\]; it must be a list of 2"),
        ("data: {zoom: [0.9, wide]}", "zoom is 'wide'; it must be a finite number"),
        ("loss: {cycle: {weight: heavy}}", "weight is 'heavy'"),
        ("optimizer: {beta1: 5}", r"optimizer\.beta1 must lie in"),
        ("optimizer: {learning_rate: .inf}", "learning_rate is inf"),
        ("run: {seed: [1]}", "seed is"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told):
        load(tmp_path, text)


def test_near_misses_are_proposed(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'brain-256'"):
        preset("brain_256")
    with pytest.raises(ConfigError, match="Did you mean 'cycle'"):
        load(tmp_path, "loss: {Cyle: {weight: 3}}")
    with pytest.raises(ConfigError, match=r"Did you mean 'loss\.cycle\.weight'"):
        with_settings(Config(), {"loss.cycle.wait": 1.0})
    assert did_you_mean("nothing of the kind", PRESETS) == ""


def test_optional_values_and_lists_keep_their_types():
    assert typed(None, float | None, "x") is None
    assert typed("2", float | None, "x") == 2.0
    assert typed(["a", "b"], tuple[str, ...], "x") == ("a", "b")
    assert typed({"a": 1}, dict[str, float], "x") == {"a": 1}
    with pytest.raises(ConfigError, match="must be a list"):
        typed("ab", tuple[str, ...], "x")


def test_every_field_of_a_configuration_has_a_type_that_is_checked():
    assert {field.name for field in fields(Config)} <= {n.split(".")[0] for n in setting_types()}
    for name, hint in setting_types().items():
        assert hint in WRONG or get_origin(hint) in (Literal, tuple), name
