"""Failures of workers, recorded in files of the run folder for the restarted workers to report.

A worker that dies cannot report its failure, and Ray's controller, which restarts the others, does
not train. One file holds the reason for a restart, another an error that a restart cannot fix.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress

from mrct.errors import OUTAGES, STORAGE_FULL_ERRNOS, ExitCode, UnreachableError, UserError
from mrct.storage.paths import StoragePath

FAILURE_FILE = ".restarted"
FATAL_ERROR_FILE = ".failed"
WORKER_LOST = ("WorkerHealthCheckFailedError", "WorkerHealthCheckTimeoutError")
"""Ray's errors for a worker whose process died, and for one that stopped responding."""
COLLATERAL_ERRORS = (
    "gloo",
    "NCCL",
    "Connection closed by peer",
    "Timed out",
    "SynchronizationBarrier",
    "BroadcastCollectiveTimeout",
)
"""Texts in errors of a worker that only waited for another."""
STORAGE_FULL_MESSAGE = (
    "Storage is full: a checkpoint or a log could not be written. Earlier checkpoints are intact. "
    "Free some space, or keep fewer checkpoints (--schedule.keep-last, --schedule.keep-best), and "
    "run the same command again."
)
MAX_MESSAGE_LENGTH = 200


def record_failure(run_folder: StoragePath, failed: Mapping[int, Exception]) -> None:
    """Record why the workers are about to be restarted.

    Args:
        run_folder: Folder of the run.
        failed: Exceptions by rank.
    """
    rank, why = first_failed_rank(failed)
    (run_folder / FAILURE_FILE).put(json.dumps({"rank": rank, "why": why}).encode())


def read_failure(run_folder: StoragePath) -> Iterator[str]:
    """Yield the warning about a recorded failure, if there is one, and delete the record."""
    path = run_folder / FAILURE_FILE
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return
    yield f"warning: Worker {record['rank']} {record['why']}; all workers were restarted."
    path.remove()


def record_fatal_error(run_folder: StoragePath, error: UserError | OSError) -> None:
    """Record an error that a restart cannot fix, with its message and exit code."""
    if isinstance(error, UserError):
        message, code = str(error), error.exit_code
    elif error.errno in STORAGE_FULL_ERRNOS:
        message, code = STORAGE_FULL_MESSAGE, ExitCode.STORAGE_FULL
    else:
        return
    with suppress(OSError):  # if even this does not fit, the next worker fails in the same way
        run_folder.make_folder()
        is_outage = isinstance(error, OUTAGES)
        fatal_error = {"message": message, "exit_code": int(code), "is_outage": is_outage}
        (run_folder / FATAL_ERROR_FILE).put(json.dumps(fatal_error).encode())


def read_fatal_error(run_folder: StoragePath) -> UserError | None:
    """Return the recorded error that ends the run, or None."""
    try:
        fatal_error = json.loads((run_folder / FATAL_ERROR_FILE).read_text())
    except FileNotFoundError:
        return None
    kind = UnreachableError if fatal_error["is_outage"] else UserError
    error = kind(fatal_error["message"])
    error.exit_code = ExitCode(fatal_error["exit_code"])
    return error


def clear_failure_files(run_folder: StoragePath) -> None:
    """Delete the failure records of a finished or fresh run."""
    for name in (FAILURE_FILE, FATAL_ERROR_FILE):
        (run_folder / name).remove()


def first_failed_rank(failed: Mapping[int, Exception]) -> tuple[int, str]:
    """Return the rank that failed first, and why; the other workers fail while waiting for it."""
    ranked = sorted(failed.items(), key=lambda item: (failure_rank(item[1]), item[0]))
    rank, error = ranked[0]
    kind = failure_rank(error)
    # Ray passes on a worker's exception with its traceback, which ends with type and message.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines[-1] if lines else type(error).__name__)[:MAX_MESSAGE_LENGTH]
    words = {
        0: "stopped responding (process died or hung)",
        1: f"failed ({said})",
        2: f"failed while waiting for another worker ({said})",
    }
    return rank, words[kind]


def failure_rank(error: Exception) -> int:
    """Rank an error by cause: 0 process gone, 1 own failure, 2 failed while waiting for another."""
    if type(error).__name__ in WORKER_LOST:
        return 0
    return 2 if any(word in str(error) for word in COLLATERAL_ERRORS) else 1
