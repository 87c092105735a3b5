"""What may hold a patient's data stays out of git and of a container's image, by its name.

`test_first_run.py` adds the files of a whole flow.
"""

import pytest

from cyclegan.export.model_folder import CONTENT
from cyclegan.train.checkpoint.folder import results_folder
from cyclegan.translate.command import TranslateCommand
from data_prep.readers.formats import VOLUME_SUFFIXES
from mrct.storage.object_path import ObjectPath
from tests.conftest import ROOT
from tests.support.docker_context import sent_to_docker
from tests.support.git import git, kept_by_git

DETACHED = (".raw", ".zraw", ".img", ".dcm", ".IMA")
NAMES = (
    *("brain.zarr.key", "site/a.key", "brain.id-map.csv", "manifest.csv", "ids.csv"),
    *("brain.zarr.quarantine.jsonl", "brain.zarr/zarr.json", "data/b.zarr/mri/0/0/c/0/0/0"),
    *("sheet.png", "a_preview.png", "out/report.html", "search-report.html", "out/scores.json"),
    *("runs/brain/config.yaml", "work/runs/brain/environment.json", "synthetic/a_synthetic-ct/CT1"),
    *("tensorboard/events.out.tfevents.1.host.2.0", "DICOMDIR"),
    *(f"scans/a{suffix}" for suffix in (*VOLUME_SUFFIXES, *DETACHED)),
    *(f"scans/B{suffix.upper()}" for suffix in (*VOLUME_SUFFIXES, *DETACHED)),
)


def test_git_keeps_no_file_of_a_patient(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"a person")
    (tmp_path / "mine.yaml").write_text("preset: smoke\n")

    assert kept_by_git(tmp_path) == ["mine.yaml"]


def test_git_tracks_what_the_project_consists_of():
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the project is no git repository")
    assert git(ROOT, "ls-files", "--cached", "--ignored", "--exclude-standard") == ""


@pytest.mark.parametrize("folder", ["", "cyclegan/"])
def test_an_image_holds_no_file_of_a_patient(folder):
    assert sent_to_docker(folder + name for name in (*NAMES, "scans/IM000001")) == set()


def test_results_go_by_default_to_folders_that_git_ignores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at_url = results_folder(ObjectPath("s3://bucket/runs/brain"), "model_to_ct")
    by_default = TranslateCommand(model=at_url, inputs=()).out.absolute()
    for folder in (at_url, by_default):
        folder.mkdir(parents=True)
        for name in CONTENT:
            (folder / name).write_bytes(b"a person")

    assert kept_by_git(tmp_path) == []
