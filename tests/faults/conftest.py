"""A small converted store and what it was made from, for tests that damage it."""

import shutil
from pathlib import Path

import pytest

from data_prep.store.store import Store, open_store
from tests.faults.converted import run, write_heads


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def original(inputs: Path) -> Store:
    run(inputs, inputs / "s.zarr")
    return open_store(inputs / "s.zarr")


@pytest.fixture
def store(original: Store, tmp_path: Path) -> Store:
    return open_store(shutil.copytree(original.path, tmp_path / "s.zarr"))
