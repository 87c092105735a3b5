"""A worker that goes wrong once, at a given step, in one of five ways; what Ray runs in a test.

In `.fault` of the run's folder stands who and how; it is gone when the fault has happened. Every
start of a worker and the fault leave their moments in `moments.jsonl`.
"""

import ctypes
import json
import os
import signal
import threading
import time
from pathlib import Path

from cyclegan.data.slice_source import DomainSource
from cyclegan.train import loop
from cyclegan.train.run import launch

KINDS = ("kill", "freeze", "segfault", "deadlock", "loader")
FAULT = ".fault"
MOMENTS = "moments.jsonl"
run_worker = launch.run_worker


def note_moment(run_folder: Path, what: str) -> None:
    with (run_folder / MOMENTS).open("a") as file:
        file.write(json.dumps({"what": what, "at": time.time()}) + "\n")


def happen(kind: str) -> None:
    """Go wrong, here and now."""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "segfault":
        ctypes.string_at(0)
    else:
        threading.Event().wait()


def run_worker_that_goes_wrong(job: launch.WorkerJob) -> None:
    """In the place of `launch.run_worker`."""
    import ray.train

    rank, folder = ray.train.get_context().get_world_rank(), job["config"].run_folder
    note_moment(folder, f"start {rank}")
    fault = folder / FAULT
    if fault.exists() and (plan := json.loads(fault.read_text()))["rank"] == rank:
        step, finish = loop.train_step, DomainSource.finish

        def go_wrong() -> None:
            fault.unlink()
            note_moment(folder, "fault")
            happen(plan["kind"])

        def step_or_fault(state, *arguments):
            if state.step == plan["step"]:
                go_wrong()
            return step(state, *arguments)

        def finish_or_fault(source, pending):
            calls.append(source)
            if fault.exists() and len(calls) > 2 * plan["step"]:  # both domains, each step
                happened.append("fault")
                go_wrong()
            if happened:  # another loader has come to the place of the one that hangs
                note_moment(folder, "start loader")
                happened.clear()
            return finish(source, pending)

        happened: list[str] = []
        calls: list[DomainSource] = []

        if plan["kind"] == "loader":
            DomainSource.finish = finish_or_fault  # type: ignore[method-assign]
        else:
            loop.train_step = step_or_fault
    run_worker(job)
