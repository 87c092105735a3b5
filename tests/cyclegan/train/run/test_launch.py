"""What a user gets wrong before a run starts: each a message with the remedy, and no traceback."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.files import to_yaml
from cyclegan.config.loss import Term
from cyclegan.errors import CheckpointError, ConfigError, DataError
from cyclegan.train.__main__ import main
from cyclegan.train.checkpoint.checkpoint import folder_of
from cyclegan.train.checkpoint.resume import START_CHECKPOINT, check_resume, run_lock
from cyclegan.train.checkpoint.run_record import record_environment, require_same_grid
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run import launch as run_launch
from cyclegan.train.run.launch import launch, state_before_the_first_step
from mrct.cli import run_command
from mrct.errors import ExitCode, UserError
from tests.support.bound import bound_folder
from tests.support.ports import free_ports
from tests.support.runs import unstored_run
from tests.support.stores import make_store


def train(*words: str) -> ExitCode:
    """What `python -m cyclegan.train` does, here."""
    return main(list(words))


def test_a_mistake_is_told_in_a_message_without_a_traceback(capsys):
    with pytest.raises(SystemExit, match="2"):
        run_command(main, ["brian"])

    told = capsys.readouterr().err
    assert told.startswith("error: There is no preset 'brian'. Presets: default")
    assert "Traceback" not in told


def test_without_a_store_the_message_says_how_to_make_one(monkeypatch):
    monkeypatch.delenv("CYCLEGAN_STORE", raising=False)

    with pytest.raises(ConfigError, match="python -m data_prep convert"):
        train()


def test_a_store_that_is_not_there_is_named_with_the_command_that_makes_it():
    with pytest.raises(UserError, match=r"nowhere\.zarr(.|\n)*python -m data_prep convert"):
        train("smoke", "--data.store", "nowhere.zarr")


def test_an_unknown_setting_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        train("smoke", "--loss.cyle.weight", "3")

    assert "--loss.cyle.weight" in capsys.readouterr().err


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
    assert "2 slice pairs per step" in printed
    assert "MiB per worker" in printed
    assert re.search(r"measured .* 3 steps on this machine's CPU: [0-9.]+ s per step", printed)
    assert re.search(r"time .* about [0-9]+ s without validations", printed)
    assert not Path(config.run.storage).exists()


def test_plan_is_of_what_resume_leaves_to_do(trained, config, capsys):
    folders = ["--data.store", config.data.store, "--run.storage", config.run.storage]
    run = ["smoke", *folders, "--run.name", config.run.name, "--plan"]
    start = folder_of(config.run_folder, 3)

    train(*run)
    assert "already finished" in capsys.readouterr().out
    train(*run, "--run.name", "new", "--resume", str(start))
    assert "for the 3 steps from 3 on, without validations" in capsys.readouterr().out
    assert not (config.run_folder.parent / "new").exists()

    shutil.rmtree(folder_of(config.run_folder, 6))
    train(*run)
    assert "for the 3 steps from 3 on, without validations" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--resume never"):
        train(*run, "--resume", "never")


def test_help_shows_flags_settings_and_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        train("--help")

    printed = capsys.readouterr().out
    assert "--resume" in printed
    assert "--help-all" in printed
    assert "--loss.cycle.weight" not in printed

    with pytest.raises(SystemExit, match="0"):
        train("demo", "--help-all")

    printed = capsys.readouterr().out
    assert printed.count("usage:") == 1
    assert "--resume" in printed
    assert "--loss.cycle.weight" in printed
    assert "(default: 6.0)" in printed


@pytest.fixture
def begun(config, store):
    """A run that has begun: its folder says with what."""
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.yaml").write_text(to_yaml(config))
    record_environment(config.run_folder, store, workers=1)
    return config


def test_another_config_in_the_same_folder_lists_what_differs(begun, store):
    changed = replace(begun, loss=replace(begun.loss, cycle=Term(weight=7.0)))

    with pytest.raises(ConfigError, match=r"loss\.cycle\.weight: 10\.0 -> 7\.0"):
        check_resume(changed, store, 6, "auto")

    wider = replace(begun, scale=replace(begun.scale, workers=2))
    assert check_resume(wider, store, 6, "auto") is None


def test_other_data_in_the_same_folder_is_refused(begun, store, tmp_path):
    other = make_store(
        tmp_path / "other.zarr",
        mri=3,
        ct=3,
        splits=("train", "train", "val"),
        shape=(4, 32, 32),
        seed=1,
    )

    with pytest.raises(ConfigError, match="started with other volumes or splits"):
        check_resume(begun, other, 6, "auto")


def test_never_refuses_to_go_on(begun, store):
    with pytest.raises(ConfigError, match=r"--resume never.*--run\.name"):
        check_resume(begun, store, 6, "never")


def test_a_named_checkpoint_must_be_whole(config, store, tmp_path):
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        check_resume(config, store, 6, tmp_path)


def test_a_run_may_begin_at_another_ones_checkpoint_if_the_networks_fit(finished, config, store):
    start = folder_of(finished.config.run_folder, 3)
    new = replace(config, run=replace(config.run, name="new"))
    wider = replace(new, generator=replace(new.generator, filters=8))

    assert check_resume(new, store, 6, start) == start
    with pytest.raises(ConfigError, match=r"generator\.filters: 4 -> 8"):
        check_resume(wider, store, 6, start)
    with pytest.raises(ConfigError, match="nothing to train"):
        check_resume(new, store, 3, start)
    with pytest.raises(ConfigError, match="already contains a run"):
        check_resume(finished.config, store, 6, start)


def test_the_same_command_goes_on_with_a_run_that_began_at_another_one(
    finished, config, store, capsys
):
    run = finished.config.run_folder
    start = folder_of(run, 3)
    new = replace(config, run=replace(config.run, name="new"))

    state = train_worker(new, Worker(), start=start)

    assert state.step == 6
    lines = read_lines(new.run_folder / METRICS)
    assert [line["step"] for line in lines if "rate/discriminators" in line] == [4, 6]
    for same in (start, run, "auto"):
        assert check_resume(new, store, 6, same) is None
    with pytest.raises(ConfigError, match="already contains a run"):
        check_resume(new, store, 6, folder_of(run, 6))

    (new.run_folder / START_CHECKPOINT).put(b"/runs/\xff")
    for same in (start, run, "auto"):
        capsys.readouterr()
        assert check_resume(new, store, 6, same) is None
        assert "began_at.txt is damaged" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="already contains a run"):
        check_resume(new, store, 6, "never")

    # Killed before its first save: it must not begin from random weights.
    shutil.rmtree(new.run_folder / "checkpoints")
    with pytest.raises(ConfigError, match=r"began_at\.txt is damaged.*--resume CHECKPOINT"):
        check_resume(new, store, 6, "auto")
    (new.run_folder / START_CHECKPOINT).put(str(start).encode())
    assert check_resume(new, store, 6, "auto") == start


def test_two_commands_cannot_train_one_run(config):
    with (
        run_lock(config.run_folder),
        pytest.raises(ConfigError, match="Another command is training"),
        run_lock(config.run_folder),
    ):
        pass


@pytest.fixture
def bound() -> Iterator[Path]:
    with bound_folder() as folder:
        yield folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("new", "Permission denied"),
        ("run", "Permission denied"),
        ("file/run", "Not a directory"),
        ("x" * 256, "File name too long"),
    ],
)
def test_a_folder_that_cannot_hold_the_run_is_refused_with_the_flags_that_name_another(
    bound, name, reason
):
    with (
        pytest.raises(ConfigError, match=f"cannot be kept in {bound / name}: {reason}") as refused,
        run_lock(bound / name),
    ):
        pass

    assert "--run.storage FOLDER" in str(refused.value)
    assert "--run.name NAME" in str(refused.value)


def test_a_run_that_pauses_says_so(config, monkeypatch, capsys):
    """The training runs here; test_under_ray.py has it with Ray."""
    monkeypatch.setattr(run_launch, "ray_session", nullcontext)
    monkeypatch.setattr(run_launch, "fit", lambda config, start: train_worker(config, Worker()))
    command = ["smoke", "--data.store", config.data.store, "--run.storage", config.run.storage]
    command += ["--run.name", "pauses", "--schedule.validate-every", "never"]

    train(*command, "--schedule.pause-at-step", "2")
    assert "Paused at step 2 of 6: " in capsys.readouterr().out

    train(*command)
    printed = capsys.readouterr().out
    assert "Resuming from step 2 of 6" in printed
    assert "Done: " in printed


def test_a_stale_address_of_a_cluster_is_told_before_the_run_is_locked(config, monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")

    with pytest.raises(UserError, match="No Ray cluster answers"):
        launch(config)

    assert not config.run_folder.exists()


def test_the_preset_is_a_word_and_no_flag(config, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("--preset", "demo", "--data.store", config.data.store)

    assert "--preset" in capsys.readouterr().err


def test_a_store_of_another_spacing_is_refused_with_the_command_that_converts_alike(
    begun, store, tmp_path
):
    other = make_store(
        tmp_path / "fine.zarr",
        mri=2,
        ct=2,
        splits=("train", "val"),
        shape=(4, 32, 32),
        spacing_mm=(3.0, 0.8, 0.8),
    )

    with pytest.raises(ConfigError, match=r"3\.00 x 0\.80 x 0\.80 mm") as caught:
        launch(replace(begun, data=replace(begun.data, store=str(other.path))))

    assert "--spacing-mm 3 2 2 --size 32 32" in str(caught.value)
    require_same_grid(begun.run_folder, store)


def test_a_run_of_another_preprocessing_is_refused(begun, store):
    path = begun.run_folder / "environment.json"
    facts = json.loads(path.read_text())
    del facts["preprocessing"]  # as before it was recorded
    path.put(json.dumps(facts).encode())

    with pytest.raises(ConfigError, match="trained on preprocessing of before 6"):
        require_same_grid(begun.run_folder, store)


@pytest.mark.parametrize(
    ("extent", "said"), [("no", ""), ("blocks", "seconds"), ("all", "minutes")]
)
def test_what_takes_long_before_the_first_step_is_said(extent, said, config):
    planned = replace(
        config,
        scale=replace(config.scale, workers=2),
        train=replace(config.train, compile=extent),
    )

    workers, *delays = state_before_the_first_step(planned).split("; ")

    assert workers == "2 workers"
    assert [said in delay for delay in delays] == [True] * bool(said)


def test_a_tracker_that_cannot_be_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = unstored_run(tmp_path, "tracked")
    config = replace(config, debug=replace(config.debug, tracker="mlflow"))

    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI names no server"):
        launch(config)
