"""A job gets the project's files and those that are named, whatever else lies in the folder."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package

from cluster.submit.package import (
    LARGE_BYTES,
    OWN_PACKAGES,
    PROJECT,
    git_files,
    job_files,
    package_files,
)
from mrct.errors import UsageError
from tests.support.docker_context import sent_to_docker

PATIENTS = (
    *("IM000001", "a.IMA", "b.NII.GZ", "c.img", "c.hdr", "d.zip", "e.tar.gz", "f.h5", "g.DCM"),
    *("cyclegan/IM000002", "data/h.nrrd", "runs/a/checkpoints/x.safetensors", "s.zarr/zarr.json"),
)
COMMAND = ("python", "-m", "cyclegan.train", "--config", "mine.yaml")


def git(project: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(project), *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder as people have it: our code, a scan beside it, a configuration of their own."""
    folder = tmp_path / "project"
    for name in ("cyclegan/train/loop.py", "cyclegan/py.typed", "tune/report/report.html.j2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    for name in ("pyproject.toml", ".gitignore", ".rayignore"):
        shutil.copy(PROJECT / name, folder / name)
    for name in PATIENTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a person")
    (folder / "mine.yaml").write_text("preset: smoke\n")
    (folder / "other.yaml").write_text("preset: smoke\n")
    return folder


@pytest.fixture
def tracked(project) -> Path:
    """The same as a git repository."""
    git(project, "init", "--quiet")
    git(project, "add", "cyclegan/train/loop.py", "cyclegan/py.typed", "pyproject.toml")
    return project


def test_with_git_a_job_gets_what_git_tracks_and_the_named_configuration(tracked):
    assert job_files(COMMAND, project=tracked).sent == (
        *("cyclegan/py.typed", "cyclegan/train/loop.py"),
        *("mine.yaml", "pyproject.toml"),
    )


def test_without_git_a_job_gets_the_packages_own_files(project):
    assert job_files((*COMMAND[:3], "--config=mine.yaml"), project=project).sent == (
        *("cyclegan/py.typed", "cyclegan/train/loop.py", "mine.yaml", "pyproject.toml"),
        "tune/report/report.html.j2",
    )


def test_what_is_included_is_sent_and_a_pattern_without_a_file_is_wrong_use(tracked):
    files = job_files((), ("data/**/*.nrrd", "f.h5"), tracked)

    assert {"data/h.nrrd", "f.h5"} == set(files.sent) & set(PATIENTS)
    for pattern in ("nothing/*", "/etc/hostname", ""):
        with pytest.raises(UsageError, match="matches no file below"):
            job_files((), (pattern,), tracked)


def test_links_and_paths_that_lead_elsewhere_are_not_followed(tracked, tmp_path):
    (tmp_path / "scan.yaml").write_text("a person")
    (tracked / "link.yaml").symlink_to(tmp_path / "scan.yaml")
    git(tracked, "add", "link.yaml")

    files = job_files(("--config", "link.yaml", "--space", "../scan.yaml"), project=tracked)

    assert [name for name in files.sent if name.endswith(".yaml")] == []


def test_large_files_and_code_that_git_does_not_know_are_named(tracked):
    (tracked / "cyclegan/new.py").write_text("")
    with (tracked / "cyclegan/large.py").open("wb") as file:
        file.truncate(LARGE_BYTES + 1)
    git(tracked, "add", "cyclegan/large.py")

    files = job_files((), project=tracked)

    assert (files.large, files.unknown) == (("cyclegan/large.py",), ("cyclegan/new.py",))
    assert "Not sent, larger than 10 MiB: cyclegan/large.py (--include" in str(files)
    assert "Not sent, unknown to git: cyclegan/new.py (--include" in str(files)
    named = job_files((), ("cyclegan/*.py",), tracked)
    assert {"cyclegan/large.py", "cyclegan/new.py"} <= set(named.sent)


def test_ray_takes_the_copied_files_all_of_them(tracked, tmp_path):
    git(tracked, "add", "--force", "s.zarr/zarr.json")  # which the rules of what to ignore name
    files = job_files(COMMAND, project=tracked)

    files.copy_to(tmp_path / "job")

    assert packed(tmp_path / "job", tmp_path) == set(files.sent)
    assert "s.zarr/zarr.json" in files.sent


def test_a_plain_ray_job_submit_of_the_folder_gets_the_packages_alone(project, tmp_path):
    """Ray reads .rayignore itself, where nobody uses our command."""
    names = packed(project, tmp_path)

    assert {"cyclegan/train/loop.py", "tune/report/report.html.j2", "pyproject.toml"} <= names
    assert names & set(PATIENTS) == set()


def test_every_file_of_the_packages_is_sent_whoever_sends_them(tmp_path):
    """A job without git, Ray's own command, and an image."""
    own = set(git_files(PROJECT, "--cached", "--", *OWN_PACKAGES) or package_files(PROJECT))
    for name in own | {".rayignore"}:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / "copy" / name)

    assert own <= set(package_files(PROJECT))
    assert own - {"cluster/Dockerfile"} <= packed(tmp_path / "copy", tmp_path)
    assert own <= sent_to_docker(own)


def packed(folder: Path, tmp_path: Path) -> set[str]:
    """The files that Ray packs of a working directory."""
    package = tmp_path / "package.zip"
    create_package(str(folder), package, include_gitignore=True)
    with zipfile.ZipFile(package) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}
