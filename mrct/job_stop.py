"""Ray jobs that have time to save, however short the stop that Ray's job server grants.

`ray job stop` signals a job's command and all its descendants, and kills them after 3 s; the
variable that changes this must be in the environment of the job server's own process. Therefore a
command that needs longer works in a process that is not a descendant of the job's. A guardian
beside it ends it in bounded time once the job is gone:

    job's command -- requests --> guardian -- signals --> work
                  <-- exit code --         <-- status ---
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress
from math import inf
from typing import NoReturn

from mrct.stop_signals import STOP_SIGNALS

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that Ray's job server sets for the command of a job (Ray 2.60)."""
STOP_WAIT_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
"""Environment variable with the seconds between Ray's signal and its kill."""
DEFAULT_STOP_WAIT_S = "3"
END_S = 30
"""Seconds that a process may take to end after its time to save is over."""
POLL_S = 0.2


def outlive_job_stop(grace_s: float, setting: str) -> None:
    """Return where `ray job stop` leaves at least `grace_s` seconds, if this command is a Ray job.

    If the stop leaves less, this function returns in another process, which no stop kills. The
    job's own process passes on signals to it, shares its output, and exits with its code. The
    process must be single-threaded, since it forks.

    Args:
        grace_s: Time that the command needs to save.
        setting: Flag that gives it, for the message.
    """
    if JOB_VARIABLE not in os.environ:
        return
    left_s = int(os.environ.get(STOP_WAIT_VARIABLE, DEFAULT_STOP_WAIT_S))
    if left_s >= grace_s:
        print(f"A stop of this Ray job leaves {left_s} s; saving gets {setting} {grace_s} s.")
        return
    print(
        f"A stop of this Ray job leaves {left_s} s, less than {setting} {grace_s} s: the work runs "
        f"beside the job, and still has {grace_s} s to save after Ray calls the job stopped.",
        flush=True,
    )
    sys.stderr.flush()
    work_beside_the_job(grace_s)


def work_beside_the_job(grace_s: float) -> None:
    """Return in a process that is not a descendant of this one; see `outlive_job_stop`."""
    requests, requests_in = os.pipe()
    codes, codes_in = os.pipe()
    if starter := os.fork():
        os.waitpid(starter, 0)
        os.close(requests)
        os.close(codes_in)
        lead(requests_in, codes)
    os.setsid()
    if os.fork():
        os._exit(0)  # so that the guardian's parent is no process of the job
    os.close(requests_in)
    os.close(codes)
    if work := os.fork():
        guard(work, requests, codes_in, grace_s)
    os.close(requests)
    os.close(codes_in)


def lead(requests: int, codes: int) -> NoReturn:
    """Be the job's process: pass on signals, and exit with the code of the work."""
    for each in STOP_SIGNALS:
        signal.signal(each, lambda number, frame: os.write(requests, bytes([number])))
    code = os.read(codes, 16)
    sys.exit(int(code or 1))  # nothing is read if the guardian was killed


def guard(work: int, requests: int, codes: int, grace_s: float) -> NoReturn:
    """Signal the work as requested, and once if the job is gone; kill it if it does not end."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    deadline, job_runs = inf, True
    while not (ended := os.waitpid(work, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(work, signal.SIGKILL)
        if job_runs and select.select([requests], [], [], POLL_S)[0]:
            number = os.read(requests, 1)
            job_runs = bool(number)
            if number or deadline == inf:  # a killed job is no second request
                os.kill(work, number[0] if number else signal.SIGTERM)
            deadline = min(deadline, time.monotonic() + grace_s + END_S)
        elif not job_runs:
            time.sleep(POLL_S)
    code = os.waitstatus_to_exitcode(ended[1])
    with suppress(OSError):  # the job is gone
        os.write(codes, str(code if code >= 0 else 128 - code).encode())
    os._exit(0)
