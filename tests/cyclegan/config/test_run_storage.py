"""A run is kept where it is found again, also when its command is a job."""

import pytest

from cyclegan.config.files import resolve, with_settings
from cyclegan.config.presets import smoke
from cyclegan.config.run_storage import runs_folder
from cyclegan.errors import ConfigError

JOB_FOLDER = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0123"


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch, tmp_path):
    for name in ("CYCLEGAN_STORAGE", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")


def test_the_setting_comes_before_the_environment_and_that_before_the_current_folder(
    monkeypatch, tmp_path
):
    assert runs_folder("", "--run.storage") == tmp_path / "runs"
    monkeypatch.setenv("CYCLEGAN_STORAGE", "/shared/runs")
    assert str(runs_folder("", "--run.storage")) == "/shared/runs"
    assert str(runs_folder("s3://bucket/runs", "--run.storage")) == "s3://bucket/runs"


def test_a_job_without_a_folder_for_its_run_is_wrong_use(job, monkeypatch):
    with pytest.raises(ConfigError, match=r"Set --storage, or CYCLEGAN_STORAGE"):
        runs_folder("", "--storage")

    monkeypatch.setenv("CYCLEGAN_STORAGE", "/shared/runs")
    assert str(runs_folder("", "--storage")) == "/shared/runs"


@pytest.mark.parametrize("setting", ["run.storage", "data.store"])
def test_what_ends_with_the_job_is_not_written_for_later(setting, job):
    paths = {"run.storage": "/shared/runs", "data.store": "/shared/s.zarr"}
    resolve(with_settings(smoke(), paths))

    with pytest.raises(ConfigError, match=rf"--{setting} is {JOB_FOLDER}/x, which Ray deletes"):
        resolve(with_settings(smoke(), paths | {setting: f"{JOB_FOLDER}/x"}))
