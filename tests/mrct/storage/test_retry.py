"""What may pass is tried again after growing pauses, everything else is raised at once."""

import errno
import os

import pytest

from mrct.storage import retry as module
from mrct.storage.retry import TRANSFER_DELAYS_S, is_transient, retry


@pytest.fixture
def pauses(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "a disk, or an object store that does not answer"),
        OSError(errno.EREMOTEIO, "InternalError"),
        OSError(errno.EBUSY, "SlowDown"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_an_outage_is_outlasted(pauses, error):
    answers = [error, error, "answer"]

    def action():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry(action, delays_s=TRANSFER_DELAYS_S) == "answer"
    assert tuple(pauses) == TRANSFER_DELAYS_S[:2]


def test_the_last_error_is_raised_when_the_pauses_are_used_up(pauses):
    calls = []

    def action():
        calls.append(len(calls))
        raise OSError(errno.EIO, f"call {len(calls)}")

    with pytest.raises(OSError, match="call 4"):
        retry(action, delays_s=TRANSFER_DELAYS_S)
    assert tuple(pauses) == TRANSFER_DELAYS_S


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "gone"),
        FileNotFoundError("no such bucket"),
        PermissionError("AccessDenied"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EINVAL, "InvalidRequest"),
        ValueError("a mistake of ours"),
    ],
)
def test_a_definite_answer_is_raised_at_once(pauses, error):
    def action():
        raise error

    assert not is_transient(error)
    with pytest.raises(type(error)):
        retry(action, delays_s=TRANSFER_DELAYS_S)
    assert pauses == []
