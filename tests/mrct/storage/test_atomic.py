"""A file is the old one or the new one, never half."""

import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mrct.storage.atomic import (
    ABANDONED_AFTER_S,
    remove_abandoned,
    restore_replaced,
    whole_folder,
    write_atomic,
    write_new,
)
from tests.conftest import ROOT
from tests.support.kills import killed_before_rename


def test_content_and_mode_arrive_and_no_litter_stays(tmp_path):
    write_atomic(tmp_path / "a", b"one", mode=0o600)
    write_atomic(tmp_path / "a", b"two", mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_atomic(tmp_path / "a", b"one")

    def fail(_):
        raise OSError("disk")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk"):
        write_atomic(tmp_path / "a", b"two")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"one")]


@pytest.mark.parametrize("inner", ["a", "part/a"])
def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path, inner):
    for content in (b"one", b"two"):
        with whole_folder(tmp_path / "made") as partial:
            (partial / inner).parent.mkdir(exist_ok=True)
            (partial / inner).write_bytes(content)
            seen = tmp_path / "made" / inner
            assert not seen.exists() or seen.read_bytes() == b"one"

    assert (tmp_path / "made" / inner).read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_fails_leaves_the_old_one_and_no_litter(tmp_path):
    with whole_folder(tmp_path / "made") as partial:
        (partial / "a").write_bytes(b"one")

    def half_of_it() -> None:
        with whole_folder(tmp_path / "made") as partial:
            (partial / "a").write_bytes(b"half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        half_of_it()

    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "a").read_bytes() == b"one"


def test_a_new_file_replaces_none(tmp_path):
    write_new(tmp_path / "a", b"one", mode=0o600)
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"two")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"one")]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_new_file_is_written_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_new(tmp_path / "a", b"one")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"two")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"one")]


def test_a_new_folder_replaces_none(tmp_path):
    def publish(content: bytes) -> None:
        with whole_folder(tmp_path / "made", replace=False) as partial:
            (partial / "a").write_bytes(content)

    publish(b"one")
    with pytest.raises(FileExistsError):
        publish(b"two")

    assert (tmp_path / "made/a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


WRITER = """
import sys, time
from pathlib import Path
from mrct.storage.atomic import whole_folder
with whole_folder(Path(sys.argv[1])) as partial:
    (partial / "a").touch()
    print("writing", flush=True)
    time.sleep(600)
"""


def age(path) -> None:
    """Let everything there be of an hour ago and more."""
    then = time.time() - ABANDONED_AFTER_S - 60
    for each in path.iterdir():
        os.utime(each, (then, then))


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "made"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == b"writing\n"
        (partial,) = tmp_path.iterdir()
        age(tmp_path)

        remove_abandoned(tmp_path)
        assert partial.exists(), "its process lives, however old it is"
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

    remove_abandoned(tmp_path, "other")
    assert partial.exists(), "another name"
    remove_abandoned(tmp_path, "made")
    assert not partial.exists()


def fill(folder: Path, content: bytes) -> None:
    with whole_folder(folder) as unfinished:
        (unfinished / "a").write_bytes(content)


@pytest.mark.parametrize("restore", [remove_abandoned, restore_replaced])
def test_a_folder_whose_replacement_was_killed_is_put_back(tmp_path, restore):
    left = []
    for number in range(3):
        folder = tmp_path / str(number) / "made"
        fill(folder, b"one")
        assert killed_before_rename(number, partial(fill, folder, b"two"))

        restore(folder.parent, "made")

        left.append((folder / "a").read_bytes())
    assert left == [b"one", b"one", b"two"]
    assert [path.name for path in folder.parent.iterdir()] == ["made"], "without its predecessor"


def test_a_folder_that_is_put_back_too_early_is_replaced_all_the_same(tmp_path, monkeypatch):
    fill(tmp_path / "made", b"one")
    rename = os.rename

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        if source == tmp_path / "made":
            monkeypatch.setattr(os, "rename", rename)
            restore_replaced(tmp_path)
            assert (tmp_path / "made/a").read_bytes() == b"one"

    monkeypatch.setattr(os, "rename", interrupted)
    fill(tmp_path / "made", b"two")

    assert (tmp_path / "made/a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_only_litter_of_its_own_names_is_removed_and_no_link_is_followed(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/a").touch()
    names = (".partial-notes", ".partial-0123456-x", "partial-01234567-x", ".partial-01234567")
    for name in names:
        (tmp_path / "results" / name).touch()
    (tmp_path / "results/.partial-89abcdef-x").touch()
    age(tmp_path / "results")
    link = tmp_path / "results/.partial-01234567-x"
    link.symlink_to(tmp_path / "kept")
    then = time.time() - ABANDONED_AFTER_S - 60
    os.utime(link, (then, then), follow_symlinks=False)

    remove_abandoned(tmp_path / "results")

    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == sorted(names)
    assert (tmp_path / "kept/a").exists()
