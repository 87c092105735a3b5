"""A run has the volumes that it began with, whatever becomes of its store."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError
from cyclegan.train.checkpoint.resume import check_resume
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from data_prep.store.removal import remove_subject
from data_prep.store.store import Store, open_store
from tests.cyclegan.train.checkpoint.test_checkpoint import digest
from tests.support.stores import make_store


@pytest.fixture
def own(config: Config, store: Store, tmp_path: Path) -> Config:
    """The run on a copy of the store, which may change."""
    path = shutil.copytree(store.path, tmp_path / "own.zarr")
    return replace(config, data=replace(config.data, store=str(path)))


def paused(config: Config) -> Config:
    return replace(config, schedule=replace(config.schedule, pause_at_step=3))


def grow(config: Config) -> None:
    make_store(
        config.store, mri=3, ct=1, paired=2, splits=("train", "val"), shape=(4, 32, 32), seed=1
    )


def test_volumes_that_are_added_do_not_change_a_run_that_has_begun(own, finished):
    train_worker(paused(own), Worker())
    grow(own)
    assert check_resume(own, open_store(own.store), 6, "auto") is None

    ended = train_worker(own, Worker())

    assert digest(ended) == digest(finished.state)


def test_workers_that_start_later_have_the_volumes_of_the_first(own, finished, store):
    grow(own)  # after the command had looked

    ended = train_worker(own, Worker(), contents=store.contents)

    assert digest(ended) == digest(finished.state)


def test_a_restarted_worker_does_not_continue_on_another_store(own, store, tmp_path):
    train_worker(paused(own), Worker(), contents=store.contents)
    shutil.move(own.store, tmp_path / "moved.zarr")
    make_store(own.store, mri=3, ct=2, paired=1, shape=(4, 32, 32), seed=5)

    with pytest.raises(ConfigError, match="started with other volumes or splits"):
        train_worker(own, Worker(), contents=store.contents)


def test_a_restarted_worker_does_not_continue_without_a_volume(own, store):
    train_worker(paused(own), Worker())
    remove_subject(own.store, store.volumes[0].subject)

    with pytest.raises(ConfigError, match="started with other volumes or splits"):
        train_worker(own, Worker())


def test_another_run_sees_what_was_added(own, finished):
    train_worker(paused(own), Worker())
    grow(own)

    other = replace(own, run=replace(own.run, name="other"))
    ended = train_worker(other, Worker(), start=None)

    assert digest(ended) != digest(finished.state)
