"""A name that was read leads nowhere but below its folder."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrct.errors import StoreError
from mrct.storage.names import ANY_NAME, is_plain, safe_join
from tests.support.hostile import HOSTILE_NAMES

REFUSED = StoreError("refused")


@given(st.text(alphabet="./\\~mri0\0\n é", max_size=12))
def test_a_plain_name_stays_below_its_folder(name):
    path = os.path.normpath(f"/store/{name}")

    assert not is_plain(name) or (path.startswith("/store/") and name.count("/") < path.count("/"))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused_under_any_pattern(tmp_path, name):
    with pytest.raises(StoreError, match="refused"):
        safe_join(tmp_path, name, r"(?s:.*)", REFUSED)


def test_a_name_of_another_pattern_is_refused(tmp_path):
    assert safe_join(tmp_path, "mri/0", r"mri/\d", REFUSED) == tmp_path / "mri/0"
    for name in ("mri/a", "mri/00", "ct/0", "mri/0\n", "MRI/0"):
        with pytest.raises(StoreError, match="refused"):
            safe_join(tmp_path, name, r"mri/\d", REFUSED)


def test_a_link_on_the_way_is_refused_and_one_at_the_end_is_not(tmp_path):
    (tmp_path / "beside/inner").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "beside")
    (tmp_path / "rooted").symlink_to(tmp_path / "root")

    with pytest.raises(StoreError, match="refused"):
        safe_join(tmp_path / "root", "link/inner", ANY_NAME, REFUSED)
    safe_join(tmp_path / "root", "link", ANY_NAME, REFUSED).remove()  # the link, not the folder

    assert (tmp_path / "beside/inner").is_dir()
    assert safe_join(tmp_path / "rooted", "new/file", ANY_NAME, REFUSED).name == "file"
