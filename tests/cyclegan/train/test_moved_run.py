"""A run that was moved or copied: the given folder decides, and nobody continues another run."""

import re
import shlex
import shutil

import pytest

from cyclegan.config.files import load_config, resolve, to_yaml
from cyclegan.errors import ConfigError
from cyclegan.evaluate.model_under_test import store_for
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.train.__main__ import main, parse_command
from cyclegan.train.checkpoint.checkpoint import folder_of
from cyclegan.train.checkpoint.resume import done_steps
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from mrct.errors import NoStoreError


@pytest.fixture
def run(finished, config):
    """A run that was stopped at its third step of six."""
    shutil.copytree(finished.config.run_folder, config.run_folder)
    (config.run_folder / "config.yaml").write_text(to_yaml(config))
    shutil.rmtree(folder_of(config.run_folder, 6))
    return config.run_folder


def configured(*words):
    """The configuration of the command with these words."""
    return resolve(parse_command(list(words))[1])


def commands_in(text):
    """The arguments of each command that a message advises."""
    return [shlex.split(line)[3:] for line in re.findall(r"python -m cyclegan\.train.*", text)]


def test_a_moved_run_continues_where_it_lies(run, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    run.rename(moved)

    config = configured("--config", str(moved / "config.yaml"))
    assert done_steps(config.run_folder) == 3
    train_worker(config, Worker())

    assert config.run_folder == moved
    assert done_steps(moved) == 6
    assert not run.exists()
    assert load_config(moved / "config.yaml").run_folder == moved


def test_a_copied_run_is_refused_with_a_command_for_each_of_the_two(run, tmp_path):
    copied = tmp_path / "backup" / run.name
    shutil.copytree(run, copied)

    with pytest.raises(ConfigError, match=f"{copied} is a copy of the run {run}") as refused:
        configured("--config", str(copied / "config.yaml"))

    the_copy, the_original = commands_in(str(refused.value))
    assert configured(*the_copy).run_folder == copied
    assert configured(*the_original).run_folder == run


def test_a_new_run_with_the_settings_of_a_moved_one_begins_beside_it(run, tmp_path):
    moved = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, moved)

    config = configured("--config", str(moved / "config.yaml"), "--run.name=new")

    assert config.run_folder == tmp_path / "elsewhere" / "new"


def test_a_run_that_is_reached_through_a_link_is_no_copy(run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(run.parent)

    config = configured("--config", str(link / run.name / "config.yaml"))

    assert config.run_folder == run


def test_a_configuration_that_belongs_to_no_run_names_the_place_itself(run, tmp_path):
    shutil.copy(run / "config.yaml", tmp_path / "config.yaml")

    assert configured("--config", str(tmp_path / "config.yaml")).run_folder == run


def test_the_command_that_export_advises_is_one(run):
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ValueError, match="has no checkpoint") as refused:
        export(ExportCommand(run_folder=run))

    (advised,) = commands_in(str(refused.value))
    assert configured(*advised).run_folder == run


def test_a_moved_store_is_named_by_the_flag_of_each_command(run, config, tmp_path, monkeypatch):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(config.data.store, "/gone/s.zarr"))

    with pytest.raises(NoStoreError, match=r"/gone/s\.zarr.*: --data\.store STORE"):
        main(["--config", str(run / "config.yaml")])
    with pytest.raises(NoStoreError, match=r"/gone/s\.zarr.*: --store STORE"):
        export(ExportCommand(run_folder=run))
    with pytest.raises(NoStoreError, match=r"/gone/s\.zarr.*: --store STORE"):
        store_for(run, None)
