"""Bytes are counted before the first volume, and a full disk harms nothing."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.convert.convert import convert
from data_prep.convert.disk_usage import bytes_needed, check_space, in_units, stored_slices
from data_prep.convert.header_scan import ScannedHeader
from data_prep.convert.settings import ConvertSettings
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.sources.source import Source
from data_prep.store.store import open_store
from mrct.errors import StorageFullError, VolumeError
from mrct.imaging.volume import Grid
from tests.support.volumes import write_head

UPRIGHT = np.eye(3)
GRID = {"spacing_mm": (6.0, 4.0, 4.0), "size": (56, 48)}


def grid(shape, spacing_zyx, turn=UPRIGHT) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing_zyx[::-1])
    return Grid(shape=shape, affine=affine)


def previewed(number: int, modality="mri", **known) -> ScannedHeader:
    pair = known.pop("pair", None)
    source = Source(
        number=number,
        path=Path("x"),
        modality=modality,
        pseudonym=str(number),
        subject="s",
        split=None,
        pair=pair,
    )
    return ScannedHeader(source=source, **known)


def test_slices_follow_from_the_extent_along_the_upright_axis():
    sagittal = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # slices lie side by side

    assert stored_slices(grid((40, 64, 64), (3.0, 1.0, 1.0)), 3.0) == 40
    assert stored_slices(grid((40, 64, 64), (3.1, 1.0, 1.0)), 3.0) == 42
    assert stored_slices(grid((40, 90, 64), (3.0, 2.0, 1.0), sagittal), 3.0) == 60


def test_the_estimate_counts_new_usable_volumes_on_the_grids_that_they_will_have():
    deep, flat = grid((20, 9, 9), (6.0, 9.0, 9.0)), grid((10, 9, 9), (6.0, 9.0, 9.0))
    previews = [
        previewed(1, grid=deep, pair="p"),
        previewed(2, "ct", grid=flat, pair="p"),  # takes the MRI's 20 slices
        previewed(3, grid=flat),
        previewed(5),  # is in the store
        previewed(6, refusal=VolumeError("code", "Reason.", "Remedy.")),
    ]

    needed = bytes_needed(previews, PreprocessingSpec(**GRID), {"mri": 2.0, "ct": 4.0})

    weighted = 2 * 20 + 4 * 20 + 2 * 10
    assert needed == pytest.approx(weighted * 56 * 48 + 3 * 9_000, abs=2)


def test_what_cannot_fit_is_refused_with_the_numbers_and_the_remedy(tmp_path):
    free = (tmp_path / "not/yet/there.zarr").bytes_free()
    assert free == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, 0.1)

    check_space(10, tmp_path / "s.zarr")
    with pytest.raises(StorageFullError, match=r"need about .*GiB.*GiB free.*--spacing-mm"):
        check_space(free + 2**40, tmp_path / "s.zarr")


def test_bytes_are_told_in_units_for_people():
    assert [in_units(n) for n in (17, 2048, 3 * 2**20, 1.5 * 2**30)] == [
        "17 bytes",
        "2 KiB",
        "3 MiB",
        "1.5 GiB",
    ]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def heads(folder: Path, count: int) -> Path:
    for number in range(count):
        write_head(folder / f"{number}.nii.gz", "mri", number)
    return folder


def fill(folder: Path, leave: int) -> Path:
    """Take all but `leave` bytes of a disk."""
    ballast = folder / "ballast"
    size = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave
    ballast.write_bytes(bytes(size))
    return ballast


def test_a_disk_that_is_too_small_is_found_before_the_first_volume(small_disk, tmp_path):
    settings = ConvertSettings(
        out=small_disk / "s.zarr", mri=heads(tmp_path / "mri", 2), workers=0, size=(512, 512)
    )

    with pytest.raises(StorageFullError, match=r"need about 6\.2.. MiB.*has 1,016 KiB free"):
        convert(settings)

    assert [path.name for path in small_disk.iterdir()] == ["s.zarr.key"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ray)])
def test_a_disk_that_fills_up_on_the_way_keeps_what_is_committed_and_goes_on_later(
    small_disk, tmp_path, workers
):
    mri = heads(tmp_path / "mri", 6)
    settings = ConvertSettings(out=small_disk / "s.zarr", mri=mri, workers=workers, **GRID)
    # Enough by the estimate; but small files take whole blocks, and noise does not compress.
    ballast = fill(small_disk, leave=165_000)

    with pytest.raises(OSError, match="No space left"):
        convert(settings)
    commits = list((small_disk / "s.zarr/commits").glob("*.json"))
    assert 1 <= len(commits) < 6

    ballast.unlink()
    report = convert(replace(settings, workers=0))

    store = open_store(small_disk / "s.zarr")
    assert (report.kept, report.written) == (len(commits), 6 - len(commits))
    for volume in store.volumes:
        store.verify(volume, full=True)
    assert not list(store.path.rglob(".partial*"))
