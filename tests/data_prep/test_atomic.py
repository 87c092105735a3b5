"""A file is the old one or the new one, never half."""

import stat

import pytest

from data_prep.atomic import write_atomic


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
