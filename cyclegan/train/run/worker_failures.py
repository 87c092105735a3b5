"""What a run tells of workers that failed: left by who saw it, told by those that are started next.

A worker that dies takes its words with it, and who starts the others again is not who trains. So
the word goes by a file in the run's folder: why they are started again, or that they need not be,
since trying again would not mend it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress

from mrct.errors import STORAGE_FULL_ERRNOS, ExitCode, UserError
from mrct.storage.paths import StoragePath

FAILURES = ".restarted"
VERDICT = ".failed"
DIED = ("WorkerHealthCheckFailedError", "WorkerHealthCheckTimeoutError")
"""What Ray says of a worker whose process is gone, and of one that answers no more."""
IN_VAIN = ("gloo", "NCCL", "Connection closed by peer", "Timed out", "SynchronizationBarrier")
"""What a worker says that only waited for another."""
STORAGE_FULL_MESSAGE = (
    "storage is full: a checkpoint or a log could not be written. Earlier checkpoints are whole. "
    "Free some space, or keep fewer (--schedule.keep-last, --schedule.keep-best), and run the same "
    "command again."
)
LONGEST = 200


def leave_word(run_folder: StoragePath, failed: Mapping[int, Exception]) -> None:
    """Note why workers are about to be started again, by their ranks."""
    rank, why = culprit(failed)
    (run_folder / FAILURES).put(json.dumps({"rank": rank, "why": why}).encode())


def word_left(run_folder: StoragePath) -> Iterator[str]:
    """What there is to tell of a failure, once."""
    path = run_folder / FAILURES
    try:
        word = json.loads(path.read_text())
    except FileNotFoundError:
        return
    yield f"warning: worker {word['rank']} {word['why']}; all workers were started again."
    path.remove()


def leave_verdict(run_folder: StoragePath, error: UserError | OSError) -> None:
    """Say for the command, in its words and with its exit code, what no other try would mend."""
    if isinstance(error, UserError):
        message, code = str(error), error.exit_code
    elif error.errno in STORAGE_FULL_ERRNOS:
        message, code = STORAGE_FULL_MESSAGE, ExitCode.STORAGE_FULL
    else:
        return
    with suppress(OSError):  # where not even this fits, the next worker comes to the same end
        run_folder.make_folder()
        verdict = {"message": message, "exit_code": int(code)}
        (run_folder / VERDICT).put(json.dumps(verdict).encode())


def verdict_left(run_folder: StoragePath) -> UserError | None:
    """The error that ends the run, where there is one."""
    try:
        verdict = json.loads((run_folder / VERDICT).read_text())
    except FileNotFoundError:
        return None
    error = UserError(verdict["message"])
    error.exit_code = ExitCode(verdict["exit_code"])
    return error


def forget(run_folder: StoragePath) -> None:
    """Of a run that ended, or has not begun, there is nothing to tell."""
    for name in (FAILURES, VERDICT):
        (run_folder / name).remove()


def culprit(failed: Mapping[int, Exception]) -> tuple[int, str]:
    """The rank that failed first, and what of: when one worker goes, the others fail of waiting."""
    ranked = sorted(failed.items(), key=lambda item: (weight(item[1]), item[0]))
    rank, error = ranked[0]
    kind = weight(error)
    # Ray hands on what a worker raised with its traceback, which ends with type and message.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines[-1] if lines else type(error).__name__)[:LONGEST]
    words = {
        0: "answers no more (its process died or was frozen)",
        1: f"failed ({said})",
        2: f"waited in vain for another one ({said})",
    }
    return rank, words[kind]


def weight(error: Exception) -> int:
    """0: it is gone; 1: it failed by itself; 2: it only waited for another."""
    if type(error).__name__ in DIED:
        return 0
    return 2 if any(word in str(error) for word in IN_VAIN) else 1
