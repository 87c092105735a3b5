"""A run keeps the axis of heights that it has learned, whatever becomes of its store's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.config.config import GeneratorConfig
from cyclegan.config.data import DataConfig
from cyclegan.config.run_location import ENVIRONMENT
from cyclegan.data.slice_index import find_domain
from cyclegan.errors import ConfigError
from cyclegan.inference.cycle import CycleNetworks, conditions_of
from cyclegan.train.checkpoint.initial_weights import INPUT_WEIGHT, notes_of
from cyclegan.train.checkpoint.run_record import (
    axis_of_run,
    read_environment,
    record_environment,
    require_same_axis,
    store_of_run,
)
from cyclegan.train.checkpoint.weight_source import GeneratorWeights
from data_prep.preprocess.height_axis import IN_EACH_FIELD_OF_VIEW
from data_prep.store.heights import HEIGHTS_FILE, read_heights
from data_prep.store.history import as_of, rebuild_index
from data_prep.store.store import Store, open_store
from mrct.storage.paths import StoragePath, storage_path
from tests.support.round_heads import SPACING_MM, write_round_heads

CUTS = [(0, 0), (42, 0), (0, 30)]


@pytest.fixture
def store(tmp_path) -> Store:
    write_round_heads(tmp_path / "s.zarr", CUTS)
    rebuild_index(tmp_path / "s.zarr", fit=True)
    return open_store(tmp_path / "s.zarr")


@pytest.fixture
def run(tmp_path: Path, store: Store) -> StoragePath:
    folder = storage_path(tmp_path / "run")
    folder.make_folder()
    record_environment(folder, store, workers=1)
    return folder


def refitted(store: Store) -> Store:
    write_round_heads(store.path, [(9, 9), (30, 12)], seed=1)
    rebuild_index(store.path, refit=True)
    return open_store(store.path)


def test_a_run_keeps_the_axis_and_its_hash_and_no_subject(run, store):
    assert read_environment(run)["height_axis"] == store.axis.sha256
    kept = read_heights(run)
    assert kept.axis == store.axis
    assert not kept.subjects


def test_a_run_continues_after_volumes_were_added(run, store):
    write_round_heads(store.path, [(9, 9)], seed=1)
    rebuild_index(store.path)

    continued = store_of_run(run, open_store(store.path))

    assert continued.contents == store.contents
    np.testing.assert_array_equal(
        continued.volumes.column("lowest"), store.volumes.column("lowest")
    )


def test_a_run_does_not_continue_after_a_refit_but_knows_its_axis(run, store):
    now = refitted(store)

    with pytest.raises(ConfigError, match=r"another axis of heights.*--refit"):
        store_of_run(run, now)
    assert axis_of_run(run, now) == store.axis != now.axis


def test_without_its_own_axis_a_run_is_not_scored_on_another(run, store):
    assert axis_of_run(run, store) == store.axis
    now = refitted(store)
    (run / HEIGHTS_FILE).put(b"{}")
    with pytest.raises(ConfigError, match=r"has learned, is damaged, and .* Restore the file"):
        axis_of_run(run, now)
    (run / HEIGHTS_FILE).remove()
    with pytest.raises(ConfigError, match="is missing"):
        axis_of_run(run, now)
    assert axis_of_run(run, store) == store.axis


def test_a_run_from_before_there_were_axes_keeps_its_fields_of_view(run, store):
    facts = read_environment(run)
    del facts["height_axis"]
    (run / ENVIRONMENT).put(json.dumps(facts).encode())

    assert axis_of_run(run, store) == IN_EACH_FIELD_OF_VIEW
    with pytest.raises(ConfigError, match="another axis of heights"):
        store_of_run(run, store)


def test_a_run_whose_record_is_damaged_knows_its_axis_by_its_copy(run, store):
    (run / ENVIRONMENT).put(b"{")
    assert store_of_run(run, store) is store
    now = refitted(store)

    assert axis_of_run(run, now) == store.axis
    with pytest.raises(ConfigError, match="another axis of heights"):
        store_of_run(run, now)


def test_all_of_a_checkpoint_continues_on_its_own_axis_alone(run, store):
    require_same_axis(run, store)
    with pytest.raises(ConfigError, match=r"--train\.init"):
        require_same_axis(run, refitted(store))


def test_the_volumes_of_a_run_are_known_after_a_refit(run, store):
    now = refitted(store)

    then = as_of(now.on(axis_of_run(run, now)), store.contents)

    assert [volume.to_json() for volume in then.volumes] == [
        volume.to_json() for volume in store.volumes
    ]


@pytest.mark.parametrize("conditions", [True, False])
def test_first_weights_from_another_axis_are_said(store, conditions):
    weights = GeneratorWeights(
        tensors={INPUT_WEIGHT: torch.zeros(1, 1, 7, 7)},
        settings=GeneratorConfig(),
        conditions=conditions,
        spacing_mm=SPACING_MM,
        height_axis=store.axis.sha256,
    )

    def said(axis: str) -> str:
        other = replace(weights, height_axis=axis)
        return " ".join(notes_of("to_ct", other, weights.tensors, store))

    assert "another axis" not in said(store.axis.sha256)
    assert ("another axis" in said(IN_EACH_FIELD_OF_VIEW.sha256)) == conditions


def test_the_networks_of_a_run_see_the_heights_of_its_axis_on_any_store(run, store):
    now = refitted(store)
    learned = axis_of_run(run, now)
    networks = CycleNetworks(
        to_ct=lambda images: images, to_mri=None, contrast="plain", axis=learned
    )
    for volume in now.volumes:
        before = store.volumes.named(volume.name)
        if before is not None:
            seen = conditions_of(volume, now.body(volume), networks.axis)
            np.testing.assert_array_equal(seen.height, before.height)


def test_slices_of_training_and_whole_volumes_have_one_height_to_the_bit(store):
    """Of a cut and a whole scan, between two slices and beyond them."""
    domain = find_domain(store, DataConfig(min_deviation=0.0), "ct", "train")
    rows = np.arange(len(domain.table))
    numbers, z = domain.table.places(rows)

    expected = [
        domain.volumes[int(number)].height[at].astype(np.float32)
        for number, at in zip(numbers, z, strict=True)
    ]

    np.testing.assert_array_equal(domain.table.heights(rows), expected)
    assert any(volume.lowest % 1 for volume in domain.volumes)


def test_partners_by_position_show_the_same_part_of_the_body(store):
    mri, ct = (find_domain(store, DataConfig(), name, "train") for name in ("mri", "ct"))
    whole = next(v for v in mri.volumes if v.shape[0] == max(w.shape[0] for w in mri.volumes))
    cut = next(v for v in ct.volumes if v.shape[0] != whole.shape[0])
    at = int(np.abs(cut.height - 0.5).argmin())
    there = int(np.abs(whole.height - 0.5).argmin())

    lost = {len(range(0, 210 - 42, 3)): 0, len(range(30, 210, 3)): 30}[cut.shape[0]]

    assert abs((there - at) * SPACING_MM[0] - lost) <= 9
