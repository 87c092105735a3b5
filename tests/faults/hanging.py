"""Workers that go wrong once, at a given step, in one of five ways, and how the run survives it.

In `.fault` of the run's folder stands who and how; it is gone when the fault has happened. Every
start of a worker and the fault leave their moments in `moments.jsonl`.
"""

import ctypes
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.data.slice_source import DomainSource
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run import launch
from mrct.ray_session import ray_session
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject
from tests.support.stores import make_small_store

KINDS = ("kill", "freeze", "segfault", "deadlock", "loader")
FAULT = ".fault"
MOMENTS = "moments.jsonl"
STEPS = 40
WITHIN_S = 60
COLLECTIVE_TIMEOUT_S, FROZEN_TIMEOUT_S, STALL_S = 30, 20, 15.0
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


@contextmanager
def hanging_runs(folder: LocalPath) -> Iterator[Inject]:
    """In each injection one worker of a run goes wrong: both are started again, and it ends."""
    store = make_small_store(folder / "s.zarr")
    config = smoke()
    base = resolve(
        replace(
            config,
            run=replace(config.run, storage=str(folder)),
            data=replace(config.data, store=str(store.path), stall_s=STALL_S),
            train=replace(config.train, max_steps=STEPS),
            scale=replace(
                config.scale,
                workers=2,
                collective_timeout_s=COLLECTIVE_TIMEOUT_S,
                frozen_timeout_s=FROZEN_TIMEOUT_S,
            ),
            schedule=replace(config.schedule, save_every="5 steps", validate_every="never"),
        )
    )

    def inject(number: int) -> None:
        draw, kind = random.Random(number), KINDS[number % len(KINDS)]
        step = draw.randint(1, STEPS - 5)
        # Of a loader only worker 0 tells the command; others mend theirs in silence.
        rank = 0 if kind == "loader" else draw.randrange(2)
        config = replace(base, run=replace(base.run, name=f"{kind}-{number}"))
        run = config.run_folder
        assert isinstance(run, Path)
        run.mkdir()
        (run / FAULT).write_text(json.dumps({"kind": kind, "rank": rank, "step": step}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "run_worker", run_worker_that_goes_wrong)
            launch.fit(config)

        assert checkpoint.verify_checkpoint(checkpoint.folder_of(run, STEPS))["step"] == STEPS
        moments = [json.loads(line) for line in (run / MOMENTS).read_text().splitlines()]
        (fault,) = [moment["at"] for moment in moments if moment["what"] == "fault"]
        after = [moment for moment in moments if moment["at"] > fault]
        back = {"start loader"} if kind == "loader" else {"start 0", "start 1"}
        assert {moment["what"] for moment in after} == back
        back_s = max(moment["at"] for moment in after) - fault
        notes = [line["note"] for line in read_lines(run / METRICS) if "note" in line]
        (told,) = [note for note in notes if "restarted" in note]
        print(f"{kind} of worker {rank} at step {step}: back in {back_s:.0f} s; {told}")
        assert back_s < WITHIN_S
        if kind == "loader":  # mended within the worker, which says what hung
            assert "has made no progress" in told
        else:  # of a deadlock only those know that wait
            assert f"Worker {1 - rank if kind == 'deadlock' else rank} " in told

    with ray_session(num_cpus=2):
        yield inject
