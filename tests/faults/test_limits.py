"""Limits of an HPC site: a command works within them, or says what it needs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import data_prep.preprocess.preprocess
import data_prep.sources.sandbox
from cyclegan.config.presets import smoke
from cyclegan.nets.generator import Generator
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti, write_nifti
from data_prep.sources.sandbox import ReadRequest
from mrct.errors import ExitCode
from mrct.host_limits import free_memory_bytes
from tests.support.conversions import GRID as SMALL
from tests.support.conversions import run
from tests.support.models import publish_model
from tests.support.runs import run_of_one_step
from tests.support.stores import make_store
from tests.support.volumes import write_head

MiB = 2**20
CONVERT = ("data_prep", "convert", "--mri", "mri", "--workers", "0")
GRID = ("--spacing-mm", "6", "4", "4", "--size", "56", "48")

AS_USER = [] if os.geteuid() else ["setpriv", "--bounding-set=-sys_resource"]
"""Root may raise hard limits, and users may not."""
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where groups of version 1 and 2 are made, if this user may."""


def command(*words: str, limits: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command as typed in a shell after `limits`, without HOME."""
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    return subprocess.run(
        [*AS_USER, "bash", "-c", f'{limits} exec "$@"', "bash", sys.executable, "-m", *words],
        cwd=cwd,
        env=env | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    for number in range(2):
        write_head(folder / f"mri/{number}.nii.gz", "mri", number)
    return folder


def test_a_conversion_works_within_tight_limits_and_without_a_home(place):
    limits = "ulimit -v 1500000; ulimit -n 64;"

    done = command(*CONVERT, *GRID, "--out", "tight.zarr", limits=limits, cwd=place)

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "2 written" in done.stdout


def test_a_limit_of_files_too_tight_is_said_with_the_remedy(place):
    done = command(*CONVERT, *GRID, "--out", "none.zarr", limits="ulimit -n 12;", cwd=place)

    assert done.returncode == ExitCode.FAILED
    assert "this process may open 12 (at most 12). Raise the limit" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ("ulimit -n 64;", "allows a process 64 open files"),
        ("ulimit -v 8000000;", "`ulimit -v` allows a process 7.6 GiB of address space"),
    ],
)
def test_limits_too_tight_for_ray_are_said_before_it_starts(limits, told, place):
    by_ray = ["2" if word == "0" else word for word in CONVERT]

    done = command(*by_ray, *GRID, "--out", "by-ray.zarr", limits=limits, cwd=place)

    assert done.returncode == ExitCode.FAILED
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_too_little_memory_for_the_libraries_is_said_before_one_of_them_ends_the_command(tmp_path):
    done = command("data_prep", "check", "none.zarr", limits="ulimit -v 900000;", cwd=tmp_path)

    assert done.returncode == ExitCode.WRONG_USE
    assert re.match(r"warning: Only \d+ MiB of memory(?s:.*)`ulimit -v unlimited`", done.stderr)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    store = make_store(folder / "s.zarr", mri=2, ct=2, paired=1, splits=("train", "val"))
    return run_of_one_step(store, smoke()).run_folder


@pytest.mark.slow
@pytest.mark.parametrize("words", [["cyclegan.export"], ["cyclegan.evaluate", "--split", "val"]])
def test_a_run_is_exported_and_scored_within_tight_limits(words, run_folder, tmp_path):
    words = [*words, str(run_folder), "--out", "made"]

    done = command(*words, limits="ulimit -v 6000000; ulimit -n 64;", cwd=tmp_path)

    assert done.returncode == ExitCode.DONE, done.stderr
    assert list((tmp_path / "made").iterdir())


@pytest.mark.slow
def test_a_volume_is_translated_within_tight_limits(tmp_path):
    network = Generator(in_channels=1, filters=4, blocks=1, upsample="resize")
    publish_model(tmp_path / "model", network, PreprocessingSpec(**SMALL))
    write_head(tmp_path / "0.nii.gz", "mri")
    words = ("cyclegan.translate", "model", "0.nii.gz")

    done = command(*words, limits="ulimit -v 3000000; ulimit -n 64;", cwd=tmp_path)

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "1 translated" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("cyclegan.train", "smoke", "--run.name", "r"),
        ("tune", "run", "weights", "--preset", "smoke", "--trials", "1", "--name", "s"),
    ],
    ids=["training", "search"],
)
def test_what_trains_says_what_ray_needs_before_torch_is_imported(words, tmp_path):
    limits = "ulimit -n 64; export PYTHONPROFILEIMPORTTIME=1;"

    done = command(*words, "--data.store", "none.zarr", limits=limits, cwd=tmp_path)

    assert done.returncode == ExitCode.FAILED
    told = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert "allows a process 64 open files" in told[0]
    assert "Traceback" not in "\n".join(told)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "cyclegan.config.config" in imported
    assert not imported & {"torch", "ray"}


def write_large(path: Path, slices: int) -> Path:
    """A head in a cuboid of air: many voxels in a small file."""
    small = read_nifti(write_head(path, "mri", 7), modality="mri", pseudonym="p")
    voxels = np.zeros((slices, 512, 512), np.int16)
    z, y, x = small.voxels.shape
    voxels[:z, :y, :x] = small.voxels
    write_nifti(path, voxels, np.diag([1.0, 1.0, 3000 / slices / 2, 1.0]))
    return path


def group_of(folder: Path, limit: int, used: int) -> partial[int]:
    """The free memory by a control group with this limit."""
    folder.mkdir()
    (folder / "memory.max").write_text(str(limit))
    (folder / "memory.current").write_text(str(used))
    (folder / "own").write_text("0::/")
    return partial(free_memory_bytes, folder, folder / "own")


@pytest.mark.parametrize("stage", [data_prep.sources.sandbox, data_prep.preprocess.preprocess])
def test_a_volume_too_large_for_the_control_group_is_quarantined_and_the_rest_converts(
    stage, tmp_path, monkeypatch
):
    for number in range(2):
        write_head(tmp_path / f"mri/{number}.nii", "mri", number)
    write_large(tmp_path / "mri/large.nii", 100)
    free = group_of(tmp_path / "cgroup", limit=100 * MiB, used=20 * MiB)
    if stage is data_prep.sources.sandbox:
        # The request's own default, which was bound when its class was made.
        limited = partial(ReadRequest, most_bytes=free())
        monkeypatch.setattr("data_prep.sources.source.ReadRequest", limited)
    else:
        monkeypatch.setattr(stage, "free_memory_bytes", free)

    report, store = run(out=tmp_path / "s.zarr", mri=tmp_path / "mri")

    assert [refusal.code for refusal in report.refused] == ["memory"]
    assert report.written == len(store.volumes) == 2


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A real group of 400 MiB, for one process and its children."""
    for root in CGROUPS:
        group = root / f"cyclegan-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name in ("memory.limit_in_bytes", "memory.max"):
                if (group / name).exists():
                    (group / name).write_text(str(400 * MiB))
                    yield group
                    return
        finally:
            group.rmdir()
    pytest.skip("needs the right to make a control group (root, outside most containers)")


@pytest.mark.slow
@pytest.mark.parametrize("slices", [400, 220], ids=["to decode", "to preprocess"])
def test_a_conversion_without_ray_survives_a_file_too_large_for_its_control_group(
    slices, cgroup, place
):
    write_large(place / "mri/large.nii.gz", slices)
    join = f"echo $$ > {cgroup}/cgroup.procs;"

    done = command(*CONVERT, *GRID, "--out", f"{slices}.zarr", limits=join, cwd=place)

    assert done.returncode == ExitCode.PARTLY_DONE, done.stderr
    assert "2 written, 0 already there, 1 refused" in done.stdout
    assert ": memory: " in done.stderr  # refused before the kernel had to kill anything
