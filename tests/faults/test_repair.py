"""What is damaged is taken out of a store, and what is made again is what it was."""

import pytest

from data_prep.store.check import check, repair
from data_prep.store.commits import commit_path, committed, frozen_splits, verify_files
from data_prep.store.store import open_store
from mrct.errors import StoreError, UnreachableError
from tests.faults.converted import contents, run


def test_a_damaged_record_is_taken_out_and_its_subject_keeps_its_split(inputs, store):
    whole = contents(store.path)
    victim = store.select("mri", "test")[0]
    commit_path(store.path, victim.name).write_bytes(b'{"volume": {}}')
    with pytest.raises(StoreError, match="--repair"):
        run(inputs, store.path)

    # Other shares would put the subject elsewhere if its split were not frozen.
    report = run(inputs, store.path, repair=True, split=(1.0, 0.0, 0.0))

    assert report.written == 1
    assert contents(store.path) == whole


def test_damaged_frozen_splits_are_taken_from_the_index(inputs, store):
    splits = frozen_splits(store.path)
    (store.path / "splits.json").write_bytes(b"?")
    victim = store.select("ct", "val")[0].name
    (store.path / victim / "0/c/0/0/0").unlink()

    run(inputs, store.path, repair=True, split=(1.0, 0.0, 0.0))

    assert frozen_splits(store.path) == splits
    assert check(open_store(store.path), full=True) == []


def test_a_store_that_goes_away_during_its_repair_loses_no_volume(store):
    first, *others = committed(store.path)
    commit_path(store.path, first).write_bytes(b"?")
    away = store.path.with_name("away.zarr")

    with pytest.raises(UnreachableError, match="cannot be read now"):
        repair(store.path, lambda problem: store.path.rename(away))

    away.rename(store.path)
    assert committed(store.path) == [first, *others]
    for name in others:
        verify_files(store.path, name, full=True)


def test_a_lost_index_is_rebuilt_as_it_was(inputs, store):
    whole = contents(store.path)
    (store.path / "index.safetensors").unlink()
    run(inputs, store.path)
    assert contents(store.path) == whole
