"""A tiny store and a tiny run, so that the loop can be tested without Ray in seconds."""

import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cyclegan.config.config import Config
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import TrainState
from cyclegan.train.loop import train_worker
from data_prep.store.store import Store
from tests.support.stores import make_small_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two training volumes of each kind, and one pair to validate on."""
    return make_small_store(tmp_path_factory.mktemp("data") / "heads.zarr")


@pytest.fixture
def config(store: Store, tmp_path: Path) -> Config:
    """The smoke preset on that store, in a folder of its own."""
    return small(store, tmp_path)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finished:
    """A run that nothing disturbed; not to be changed, since tests share it."""

    config: Config
    state: TrainState
    reports: list[dict[str, float]]


@pytest.fixture(scope="session")
def finished(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The run of `config`, made once."""
    config = small(store, tmp_path_factory.mktemp("finished"))
    reports: list[dict[str, float]] = []
    state = train_worker(config, Worker(), reports.append)
    return Finished(config=config, state=state, reports=reports)


@pytest.fixture
def trained(finished: Finished, config: Config) -> TrainState:
    """A finished run of `config` in its folder, and its state, for a test to change."""
    shutil.copytree(finished.config.run_folder, config.run_folder)
    return deepcopy(finished.state)


def small(store: Store, folder: Path) -> Config:
    base = smoke()
    return resolve(
        replace(
            base,
            run=replace(base.run, storage=str(folder / "runs"), name="small"),
            data=replace(base.data, store=str(store.path)),
        )
    )
