"""A file is the old one or the new one, never half."""

import stat

import pytest

from mrct.storage.atomic import whole_folder, write_atomic


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
