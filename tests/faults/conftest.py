"""A small converted store and what it was made from, for tests that damage it."""

import shutil
from pathlib import Path

import pytest

from data_prep.store.store import Store, open_store
from tests.faults.converted import run
from tests.support.volumes import write_head


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(3):
        write_head(folder / f"mri/{number}.nii", "mri", number)
        write_head(folder / f"ct/{number}.nii", "ct", number + 10)
    return folder


@pytest.fixture(scope="module")
def original(inputs: Path) -> Store:
    run(inputs, inputs / "s.zarr")
    return open_store(inputs / "s.zarr")


@pytest.fixture
def store(original: Store, tmp_path: Path) -> Store:
    return open_store(shutil.copytree(original.path, tmp_path / "s.zarr"))
