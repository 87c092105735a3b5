"""A tiny store and a tiny run, so that the loop can be tested without Ray in seconds."""

from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config import Config
from cyclegan.config_file import resolve
from cyclegan.presets import smoke
from data_prep.store import Store
from tests.stores import make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two training volumes of each kind, and one pair to validate on."""
    path = tmp_path_factory.mktemp("data") / "heads.zarr"
    return make_store(
        path, mri=2, ct=2, paired=1, splits=("train", "train", "val"), shape=(4, 32, 32)
    )


@pytest.fixture
def config(store: Store, tmp_path: Path) -> Config:
    """The smoke preset on that store, in a folder of its own."""
    base = smoke()
    return resolve(
        replace(
            base,
            run=replace(base.run, storage=str(tmp_path / "runs"), name="small"),
            data=replace(base.data, store=str(store.path)),
        )
    )
