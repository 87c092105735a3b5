"""Storage that fails for a moment is asked again; what cannot pass is told at once (I21)."""

import errno
import os

import pytest

from data_prep.readers.file_state import read_with_retry, stamp_of, unreadable
from mrct.errors import VolumeError
from mrct.storage import retry
from mrct.storage.retry import STORAGE_FAULT


class Flaky:
    """Fails so many times, then answers; counts how often it was asked."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.asked = failures, error, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_may_pass_is_tried_again_after_growing_pauses(pauses, number, wrapped):
    error = OSError(number, os.strerror(number))
    action = Flaky(2, unreadable(error) if wrapped else error)

    assert read_with_retry(action) == "answer"
    assert action.asked == 3
    assert pauses == [0.5, 2.0]


def test_storage_that_stays_away_is_told_as_no_fault_of_the_file(pauses):
    action = Flaky(99, OSError(errno.ESTALE, "Stale file handle", "/CANARY"))

    with pytest.raises(VolumeError) as caught:
        read_with_retry(action)
    assert caught.value.code == STORAGE_FAULT
    assert action.asked == 4
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ELOOP])
def test_what_cannot_pass_is_not_tried_again(pauses, number):
    action = Flaky(99, OSError(number, os.strerror(number)))

    with pytest.raises(VolumeError) as caught:
        read_with_retry(action)
    assert (caught.value.code, action.asked, pauses) == ("unreadable", 1, [])


def test_a_stamp_changes_with_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    first = stamp_of(path)

    assert stamp_of(path) == first
    os.utime(path, ns=(1, 1))
    second = stamp_of(path)
    path.write_bytes(b"123")
    assert len({first, second, stamp_of(path)}) == 3


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "a")

    with pytest.raises(VolumeError, match="not a regular file"):
        stamp_of(tmp_path / "a")
