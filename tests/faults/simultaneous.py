"""Commands that start at once, in forks of one process; run as a program by
test_simultaneous_starts.

A fork starts with all libraries imported, so that the forks meet in the work itself. Nothing here
may start a thread before it forks.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from cyclegan.config.config import BatchConfig
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.export import model_folder
from cyclegan.train.checkpoint.resume import check_resume, run_lock
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from data_prep.convert.pseudonyms import open_key
from data_prep.store.store import open_store
from mrct.errors import UserError
from mrct.storage.local_path import LocalPath
from tests.faults.converted import run
from tune.search.settings import Settings, open_folder, search_lock

STEPS = 2
START_S = 0.1
"""Time in which all forks are ready."""


def convert(inputs: LocalPath, out: LocalPath) -> int:
    """Convert with a new key beside the store; return the number of volumes written."""
    return run(inputs, out, key_file=None).written


def convert_nothing(inputs: LocalPath, out: LocalPath) -> bool:
    """Convert MRIs that are all refused; return whether no store remains."""
    return run(inputs, out, key_file=None, ct=None).is_empty


def key_check(path: LocalPath) -> str:
    """Open a key that need not exist; return its fingerprint."""
    return open_key(path).check


def train(store: LocalPath, runs: LocalPath) -> int:
    """Train a new run as the command does, but without Ray; return its last step."""
    torch.set_num_threads(1)
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(runs), name="r"),
            data=replace(base.data, store=str(store)),
            batch=BatchConfig(shards=1, shard_size=1),
            train=replace(base.train, max_steps=STEPS),
        )
    )
    with run_lock(config.run_folder):
        check_resume(config, open_store(config.store), STEPS, "never")
        return int(train_worker(config, Worker()).step)


def begin_search(folder: LocalPath) -> int:
    """Begin a new search and its first trial; return the number of trials."""
    settings = Settings(folder=folder, metric="val/mae_hu", look_every_steps=1)
    with search_lock(settings):
        log = open_folder(settings, smoke(), {}, resume=False)
        log.begin("t000", {}, "base")
        return len(log.trials)


def export(folder: LocalPath) -> None:
    """Publish a model under a new name."""
    publish(folder, overwrite=False)


def export_over(folder: LocalPath) -> None:
    """Publish a model, and replace one that is there."""
    publish(folder, overwrite=True)


def publish(folder: LocalPath, *, overwrite: bool) -> None:
    """Publish a folder with the files of a model, which tell who wrote them."""

    def fill(partial: Any) -> None:
        for name in model_folder.CONTENT:
            (partial / name).write_text(f"{os.getpid()}")
        time.sleep(START_S)  # a model takes longer

    model_folder.publish_folder(folder, fill, overwrite=overwrite)


WORKS: dict[str, Callable[..., Any]] = {
    work.__name__: work
    for work in (convert, convert_nothing, key_check, train, begin_search, export, export_over)
}


def main() -> None:
    """For each line with a work, a number of forks and paths, let the forks do the work at once.

    Answers each line with one answer of each fork: its result, the message of its user error, or
    its traceback.
    """
    for line in sys.stdin:
        name, count, *paths = json.loads(line)
        begins = time.monotonic() + START_S
        ends = [
            fork(WORKS[name], [LocalPath(path) for path in paths], begins) for _ in range(count)
        ]
        answers = []
        for end in ends:
            with os.fdopen(end) as pipe:
                answers.append(json.load(pipe))
            os.wait()
        print(json.dumps(answers), flush=True)


def fork(work: Callable[..., Any], paths: list[LocalPath], begins: float) -> int:
    """Start a process that waits for its moment; return the end of a pipe with its answer."""
    mine, theirs = os.pipe()
    if os.fork():
        os.close(theirs)
        return mine
    os.dup2(2, 1)
    time.sleep(max(0, begins - time.monotonic()))
    try:
        answer = {"result": work(*paths)}
    except UserError as error:
        answer = {"refused": str(error)}
    except BaseException:
        answer = {"crashed": traceback.format_exc()}
    os.write(theirs, json.dumps(answer).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
