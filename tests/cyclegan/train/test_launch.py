"""What a user gets wrong before a run starts: each a message with the remedy, and no traceback."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config_file import to_yaml
from cyclegan.errors import CheckpointError, ConfigError, DataError
from cyclegan.train.__main__ import main
from cyclegan.train.environment import record_environment, require_same_grid
from cyclegan.train.launch import check_resume, launch
from data_prep.errors import ExitCode, UserError
from tests.stores import make_store


def train(*words: str) -> ExitCode:
    """What `python -m cyclegan.train` does, here."""
    return main(list(words))


def test_a_mistake_is_told_in_a_message_without_a_traceback():
    ended = subprocess.run(
        [sys.executable, "-m", "cyclegan.train", "brian"], capture_output=True, text=True
    )

    assert ended.stderr.startswith("error: there is no preset 'brian'. Presets: default")
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 2


def test_without_a_store_the_message_says_how_to_make_one(monkeypatch):
    monkeypatch.delenv("CYCLEGAN_STORE", raising=False)

    with pytest.raises(ConfigError, match="python -m data_prep convert"):
        train()


def test_a_store_that_is_not_there_is_named_with_the_command_that_makes_it():
    with pytest.raises(UserError, match=r"nowhere\.zarr(.|\n)*python -m data_prep convert"):
        train("smoke", "--data.store", "nowhere.zarr")


def test_an_unknown_setting_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        train("smoke", "--loss.cyle-weight", "3")

    assert "--loss.cyle-weight" in capsys.readouterr().err


def test_a_domain_without_volumes_is_named(tmp_path):
    store = make_store(tmp_path / "mri.zarr", mri=2, ct=0)

    with pytest.raises(DataError, match=r"CT"):
        train("smoke", "--data.store", str(store.path))


def test_a_store_without_a_val_mri_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = make_store(tmp_path / "train.zarr", mri=2, ct=2)

    with pytest.raises(DataError, match=r"split val .* has no MRI"):
        train("smoke", "--data.store", str(store.path))

    assert not (tmp_path / "runs").exists()


def test_plan_prints_the_derived_numbers_and_starts_nothing(config, capsys):
    train("smoke", "--data.store", config.data.store, "--run.storage", config.run.storage, "--plan")

    printed = capsys.readouterr().out
    assert "2 slice pairs a step" in printed
    assert "MiB a worker" in printed
    assert not Path(config.run.storage).exists()


def test_help_shows_flags_settings_and_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        train("--help")

    printed = capsys.readouterr().out
    assert "--resume" in printed
    assert "--loss.cycle-weight" in printed
    assert "(default: 10.0)" in printed


def test_another_config_in_the_same_folder_lists_what_differs(config):
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.yaml").write_text(to_yaml(config))
    changed = replace(config, loss=replace(config.loss, cycle_weight=7.0))

    with pytest.raises(ConfigError, match=r"loss\.cycle_weight: 10\.0 -> 7\.0"):
        check_resume(changed, "auto")

    assert check_resume(replace(config, scale=replace(config.scale, workers=2)), "auto") is None


def test_never_refuses_to_go_on(config):
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.yaml").write_text(to_yaml(config))

    with pytest.raises(ConfigError, match=r"--resume never.*--run\.name"):
        check_resume(config, "never")


def test_a_named_checkpoint_must_be_whole(config, tmp_path):
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        check_resume(config, tmp_path)


def test_a_store_of_another_spacing_is_refused_with_the_command_that_converts_alike(
    config, store, tmp_path
):
    config.run_folder.mkdir(parents=True)
    record_environment(config.run_folder, store, workers=1)
    other = make_store(
        tmp_path / "fine.zarr",
        mri=2,
        ct=2,
        splits=("train", "val"),
        shape=(4, 32, 32),
        spacing_mm=(3.0, 0.8, 0.8),
    )

    with pytest.raises(ConfigError, match=r"3\.00 x 0\.80 x 0\.80 mm") as caught:
        launch(replace(config, data=replace(config.data, store=str(other.path))))

    assert "--spacing-mm 3 2 2 --size 32 32" in str(caught.value)
    require_same_grid(config.run_folder, store)
