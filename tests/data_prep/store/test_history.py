"""A store is seen as it was before volumes were added, never as before one was removed."""

import json

import numpy as np
import pytest

from data_prep.store.commits import HISTORY, erase_volume
from data_prep.store.history import as_of, rebuild_index
from data_prep.store.removal import remove_subject
from data_prep.store.store import Store, open_store
from data_prep.store.writer import write_volume
from tests.data_prep.store.test_writer import new_volume
from tests.support.stores import make_store

SHAPE = (6, 64, 64)


@pytest.fixture
def first(tmp_path) -> Store:
    return make_store(tmp_path / "s.zarr", shape=SHAPE, paired=1, splits=("train", "val"))


def grown(store: Store) -> Store:
    return make_store(store.path, shape=SHAPE, paired=1, splits=("train", "val"), seed=1)


def test_what_was_added_is_left_out(first):
    names = [volume.name for volume in first.volumes]
    second = grown(first)
    third = make_store(first.path, shape=SHAPE, seed=2)
    assert len(third.volumes) > len(second.volumes) > len(names)

    for now in (second, third):
        earlier = as_of(now, first.contents)

        assert earlier is not None
        assert earlier.contents == first.contents
        assert [volume.name for volume in earlier.volumes] == names
        for mine, theirs in zip(earlier.volumes, first.volumes, strict=True):
            assert mine.to_json() == theirs.to_json()
        np.testing.assert_array_equal(
            earlier.volumes.column("lowest"), first.volumes.column("lowest")
        )
    assert as_of(third, second.contents).contents == second.contents
    assert as_of(third, third.contents) is third


@pytest.mark.parametrize("contents", ["0" * 16, "../../x", "", "unknown"])
def test_what_it_never_was_is_not_made_up(first, contents):
    assert as_of(grown(first), contents) is None


def test_a_volume_that_was_replaced_or_lost_is_not_passed_off_as_the_earlier_one(first):
    write_volume(first.path, new_volume(5))
    rebuild_index(first.path)
    before = open_store(first.path)
    changed = new_volume(5)
    changed.preprocessed.voxels[1] += 1
    write_volume(first.path, changed)
    rebuild_index(first.path)

    assert as_of(open_store(first.path), before.contents) is None

    erase_volume(first.path, before.volumes[0].name)
    rebuild_index(first.path)
    assert as_of(open_store(first.path), first.contents) is None


def test_the_history_forgets_a_subject_that_is_removed(first):
    second = grown(first)
    assert len((first.path / HISTORY).names()) == 1
    subject = first.volumes[0].subject

    remove_subject(first.path, subject)

    files = [path for path in first.path.rglob("*") if path.is_file()]
    assert [path.name for path in files if subject.encode() in path.read_bytes()] == [
        "removed.json"
    ]
    now = open_store(first.path)
    assert as_of(now, first.contents) is None
    assert as_of(now, second.contents) is None


def test_a_changed_entry_is_as_none(first):
    second = grown(first)
    path = first.path / HISTORY / f"{first.contents}.json"
    entry = json.loads(path.read_bytes())
    entry["volumes"].popitem()
    path.write_text(json.dumps(entry))

    assert as_of(second, first.contents) is None


def test_an_index_that_stays_the_same_adds_no_history(first):
    rebuild_index(first.path)

    assert not (first.path / HISTORY).exists()
