"""Of several workers that failed, the one that failed first is named."""

import errno
import shutil

import pytest

from cyclegan.errors import ConfigError, DivergedError, LoaderError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.run.worker_failures import (
    FAILURE_FILE,
    clear_failure_files,
    first_failed_rank,
    read_failure,
    read_fatal_error,
    record_failure,
    record_fatal_error,
)
from cyclegan.train.validation import figure
from mrct.errors import ExitCode, UserError
from tests.support.full_disk import files_no_larger_than


class WorkerHealthCheckFailedError(Exception):
    """As Ray's, by its name."""


GONE = WorkerHealthCheckFailedError("A worker health check failed.\nThe actor is dead.")
WAITED = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
LATE = RuntimeError("BroadcastCollectiveTimeoutError: The collective operation timed out")
OWN = LoaderError("no batch for 60 s: reading slices")


def test_who_died_comes_before_who_failed_and_who_only_waited_comes_last():
    assert first_failed_rank({0: WAITED, 1: OWN, 2: GONE}) == (
        2,
        "stopped responding (process died or hung)",
    )
    assert first_failed_rank({0: WAITED, 1: OWN}) == (1, f"failed ({OWN})")
    assert first_failed_rank({0: LATE, 1: OWN}) == (1, f"failed ({OWN})")
    rank, words = first_failed_rank({1: WAITED})
    assert rank == 1
    assert words.startswith("failed while waiting for another worker ([gloo")
    assert first_failed_rank({3: ValueError()}) == (3, "failed (ValueError)")


def test_a_word_is_left_and_told_once(tmp_path):
    record_failure(tmp_path, {1: OWN, 0: WAITED})

    told = list(read_failure(tmp_path))

    assert told == [f"warning: Worker 1 failed ({OWN}); all workers were restarted."]
    assert list(read_failure(tmp_path)) == []
    assert not (tmp_path / FAILURE_FILE).exists()


def test_a_verdict_keeps_message_and_exit_code(tmp_path):
    assert read_fatal_error(tmp_path) is None
    for error, code in (
        (ConfigError("no such thing"), ExitCode.WRONG_USE),
        (DivergedError("lost"), ExitCode.FAILED),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.STORAGE_FULL),
    ):
        record_fatal_error(tmp_path, error)
        verdict = read_fatal_error(tmp_path)
        assert isinstance(verdict, UserError)
        assert verdict.exit_code == code

    clear_failure_files(tmp_path)
    record_fatal_error(tmp_path, OSError(errno.ECONNRESET, "another try may do"))
    assert read_fatal_error(tmp_path) is None


def test_a_full_disk_loses_no_checkpoint_and_is_told_as_what_it_is(config, trained, monkeypatch):
    """A limit on the size of files stands for the disk: the system refuses in the same place."""
    first, second = checkpoint.saved_checkpoints(config.run_folder)
    shutil.rmtree(second)
    # Of the files of a checkpoint the optimizer's moments are the largest, and come last.
    largest = max(path.stat().st_size for path in first.glob("*.safetensors"))
    # TensorBoard's file, with its pictures, is to be smaller.
    monkeypatch.setattr(figure, "PLANE_HEIGHT", 16)
    with (
        files_no_larger_than(largest - 1000),
        pytest.raises(OSError, match="File too large") as caught,
    ):
        train_worker(config, Worker())

    assert caught.value.errno == errno.EFBIG
    assert checkpoint.newest_checkpoint(config.run_folder) == first
    (litter,) = (config.run_folder / "checkpoints").glob(".partial*")
    assert list(litter.iterdir()) == []
    assert train_worker(config, Worker()).step == trained.step == 6
