"""What a user gets wrong before a run starts: each a message with the remedy, and no traceback."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config_file import to_yaml
from cyclegan.errors import CheckpointError, ConfigError
from cyclegan.train.launch import check_resume


def train(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m cyclegan.train`, as a user types it."""
    clean = {k: v for k, v in os.environ.items() if k != "CYCLEGAN_STORE"}
    return subprocess.run(
        [sys.executable, "-m", "cyclegan.train", *words],
        capture_output=True,
        text=True,
        env=clean | {"OMP_NUM_THREADS": "1"} | environment,
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "python -m data_prep convert"),
        (("brian",), 2, "there is no preset 'brian'"),
        (("smoke", "--loss.cyle-weight", "3"), 2, "--loss.cyle-weight"),
        (("smoke", "--data.store", "nowhere.zarr"), 1, "python -m data_prep convert"),
        (("smoke", "--scale.workers", "3"), 2, "batch.shards is 2"),
        (("smoke", "--loss.cycle-weight", "-1"), 2, "must be 0 or more"),
    ],
)
def test_a_mistake_is_told_in_a_message(words, code, message):
    ended = train(*words)

    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == code


def test_plan_prints_the_derived_numbers_and_starts_nothing(config):
    ended = train(
        "smoke", "--data.store", config.data.store, "--run.storage", config.run.storage, "--plan"
    )

    assert ended.returncode == 0, ended.stderr
    assert "2 slice pairs a step" in ended.stdout
    assert "MiB a worker" in ended.stdout
    assert not Path(config.run.storage).exists()


def test_help_names_units_and_defaults():
    ended = train("--help")

    assert ended.returncode == 0
    assert "--loss.cycle-weight" in ended.stdout
    assert "--resume" in ended.stdout


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
