"""A configuration that was changed after the training exports, scores and translates nothing.

Other valid settings would give the networks other inputs than in training: a flipped bit in
`config.yaml` once made a synthetic CT that was 309 HU off, and its parity check passed.
"""

import json
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml, with_settings
from cyclegan.config.presets import smoke
from cyclegan.errors import CheckpointError, ModelError
from cyclegan.evaluate.model_under_test import open_model_under_test
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.export.metadata import INFO, parse_info
from cyclegan.train.checkpoint.checkpoint import save_checkpoint
from cyclegan.train.engine.state import build_state
from data_prep.store.store import Store, open_store
from tests.support.stores import make_store

CHANGES = {
    "data.mri_contrast": "inverted",
    "generator.upsample": "transposed",
    "data.min_body_fraction": 0.25,
    "loss.cycle.weight": 11.0,
    "train.ema_decay": 0.99,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Config:
    """A run folder with one checkpoint of untrained networks."""
    folder = tmp_path_factory.mktemp("run")
    store = make_store(folder / "s.zarr", mri=1, ct=1, shape=(4, 32, 32))
    settings = {"run.storage": str(folder), "data.store": str(store.path)}
    config = resolve(with_settings(smoke(), settings))
    config.run_folder.make_folder()
    state = build_state(config, size=store.size, shards=range(2), device=torch.device("cpu"))
    save_checkpoint(state, config.run_folder)
    return config


@pytest.fixture
def store(run) -> Store:
    return open_store(run.store)


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_trained_under_other_settings_is_neither_exported_nor_scored(run, store, name):
    changed = with_settings(run, {name: CHANGES[name]})
    (run.run_folder / "config.yaml").write_text(to_yaml(changed))

    with pytest.raises(CheckpointError, match=rf"other settings(?s:.*){name}: "):
        export(ExportCommand(run_folder=run.run_folder))
    with pytest.raises(CheckpointError, match=rf"other settings(?s:.*){name}: "):
        open_model_under_test(run.run_folder, store)


def test_settings_that_change_no_result_may_change(run, store):
    changed = with_settings(run, {"data.cache_gib": 2.0, "schedule.save_every": "9 steps"})
    (run.run_folder / "config.yaml").write_text(to_yaml(changed))

    assert open_model_under_test(run.run_folder, store).networks


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("generator", "blocks"), "one"),
        (("generator", "upsample"), "reSize"),
        (("intensity", "mri_contrast"), "Inverted"),
        (("preprocessing", "spacing_mm"), [3.0, "1.0mm", 1.0]),
        (("preprocessing", "bias_correction"), "no"),
        (("conditions",), "no"),
        (("neighbours",), 0.5),
        (("trained_on", "volumes"), None),
    ],
)
def test_a_model_that_states_a_value_of_another_type_is_refused(run, tmp_path, keys, value):
    (run.run_folder / "config.yaml").write_text(to_yaml(run))
    folder = run.run_folder / "model_to_ct"
    if not folder.exists():
        export(ExportCommand(run_folder=run.run_folder))
    values = json.loads((folder / INFO).read_text())
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value

    with pytest.raises(ModelError, match=f"{keys[-1]} is"):
        parse_info(json.dumps(values), Path(tmp_path))
