"""Which files of a folder are volumes, and what is said of a folder that gives none."""

from collections import Counter
from pathlib import Path

import pytest

from data_prep.datasets.dataset import LINK_OUT, check_folder, volume_files
from mrct.errors import UsageError
from tests.support.volumes import touch_files


def names_in(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in volume_files(root, Counter())]


def test_volumes_of_all_formats_are_found_at_any_depth_in_order(tmp_path):
    root = touch_files(tmp_path, "b.nii", "a/x/deep.nii.gz", "a/y.MHA", "c.nrrd", "d.img")

    assert names_in(root) == ["b.nii", "c.nrrd", "a/y.MHA", "a/x/deep.nii.gz"]


def test_hidden_files_and_mac_litter_are_nobodys(tmp_path):
    root = touch_files(tmp_path, "a.nii", "._a.nii", ".trash/b.nii", "__MACOSX/a.nii")

    assert names_in(root) == ["a.nii"]


def test_links_that_lead_out_are_counted_and_not_followed(tmp_path):
    touch_files(tmp_path, "in/a.nii", "out/b.nii")
    (tmp_path / "in/inner.nii").symlink_to(tmp_path / "in/a.nii")
    (tmp_path / "in/outer.nii").symlink_to(tmp_path / "out/b.nii")
    skipped: Counter[str] = Counter()

    found = volume_files(tmp_path / "in", skipped)

    assert [path.name for path in found] == ["a.nii", "inner.nii"]
    assert skipped == {LINK_OUT: 1}


@pytest.mark.parametrize(
    ("place", "found"),
    [("absent", "there is no such folder"), ("file.nii", "it is a file"), ("empty", "it is empty")],
)
def test_a_folder_that_gives_nothing_is_told_apart(tmp_path, place, found):
    touch_files(tmp_path, "file.nii")
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=rf"--mri .*{place}: {found}"):
        check_folder(tmp_path / place, "--mri")
