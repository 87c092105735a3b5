"""A small real store, and the description of a model that goes with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.config import Config, GeneratorConfig
from cyclegan.config.presets import smoke
from cyclegan.export.metadata import Intensity, ModelInfo
from data_prep.store.store import Store
from tests.support.stores import make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("store") / "tiny.zarr"
    return make_store(path, mri=2, ct=2, shape=(6, 32, 40), splits=("train", "val"))


@pytest.fixture(scope="session")
def config() -> Config:
    """The configuration of the run of that model."""
    base = smoke()
    return replace(base, data=replace(base.data, mri_contrast="inverted"))


@pytest.fixture(scope="session")
def info(store: Store) -> ModelInfo:
    return ModelInfo(
        direction="to_ct",
        inputs=("mri",),
        intensity=Intensity(mri_contrast="inverted"),
        preprocessing=store.preprocessing,
        generator=GeneratorConfig(filters=4, blocks=1),
        run="smoke-0123abcd",
        config_hash="c" * 64,
        checkpoint="step_00000006",
        store_fingerprint=store.fingerprint,
        store_contents=store.contents,
        scores={
            "split": "test",
            "num_subjects": 4,
            "paired": {"CycleGAN": {"mae_hu": {"mean": 123.4}, "bone_dice": {"mean": 0.81}}},
            "volumes": [{"mae": 9.0}],
        },
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model_to_ct"
