"""Kills of a process that saves and scores checkpoints without a pause."""

import io
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from math import inf
from multiprocessing.connection import Connection

import torch

from cyclegan.config.config import Config
from cyclegan.train.checkpoint import background_save, checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import build_state
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject
from tests.support.forks import forked
from tests.support.runs import unstored_run

LONGEST_LIFE_S = 0.2
"""A save takes a fraction of it."""


def save_without_end(config: Config, begun: Connection) -> None:
    """As a run does: from the newest checkpoint on, missing scores first."""
    torch.set_num_threads(1)
    folder = config.run_folder
    state = build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))
    saving = background_save.BackgroundSave(
        folder, Worker(), lambda: checkpoint.prune_checkpoints(folder, 2, 1)
    )
    for saved in checkpoint.saved_checkpoints(folder):
        state.step = checkpoint.verify_checkpoint(saved)["step"]
    for unscored in checkpoint.unscored_checkpoints(folder):
        checkpoint.record_score(unscored, 1 / state.step)
    begun.send(None)
    while True:
        state.step += 1
        saving.begin(state, validated=True)
        saving.score(state.step, 1 / state.step)


@contextmanager
def kills_of_saves(folder: LocalPath) -> Iterator[Inject]:
    """After each kill every checkpoint is whole, and at most the newest waits for its score."""
    config = unstored_run(folder, "killed")

    def inject(number: int) -> None:
        was = checkpoint.newest_checkpoint(config.run_folder)
        reached, begun = forked().Pipe(duplex=False)
        writer = forked().Process(target=save_without_end, args=(config, begun))
        writer.start()
        begun.close()
        try:
            reached.recv()
            time.sleep(random.Random(number).uniform(0, LONGEST_LIFE_S))
        finally:
            writer.kill()
            writer.join()

        with redirect_stderr(io.StringIO()) as printed:
            for saved in checkpoint.saved_checkpoints(config.run_folder):
                step = checkpoint.verify_checkpoint(saved)["step"]
                assert checkpoint.score_of(saved) in (1 / step, inf)
            newest = checkpoint.newest_checkpoint(config.run_folder)
            assert set(checkpoint.unscored_checkpoints(config.run_folder)) <= {newest}
        assert "damaged" not in printed.getvalue()
        assert was is None or (newest is not None and newest.name >= was.name)

    yield inject
