"""Warps are made once: a second start makes what a kill, damage or a removal left missing."""

import signal
import subprocess
import sys
from shutil import copytree

import numpy as np
import pytest

from cyclegan.anchor.stage import GoBetween, warp_train_split
from cyclegan.contrast.table_file import parse_table, table_bytes
from cyclegan.contrast.train_table import fit_train_table
from cyclegan.errors import DataError
from data_prep.store.companions.cache import open_companions
from data_prep.store.companions.group import group_path
from data_prep.store.removal import remove_subject
from data_prep.store.store import open_store
from data_prep.store.writer import write_lock
from mrct.errors import StoreError
from mrct.storage.local_path import LocalPath
from tests.conftest import ROOT
from tests.support.stores import make_store

SHAPE = (6, 32, 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of three MRIs and three CTs with its table."""
    store = make_store(tmp_path_factory.mktemp("stage") / "s.zarr", mri=3, ct=3, shape=SHAPE)
    return store, table_of(store)


def table_of(store):
    fitted = fit_train_table(store, 0).table
    hashes = {"store_fingerprint": store.fingerprint, "store_contents": store.contents}
    return GoBetween(table=parse_table(table_bytes(fitted, **hashes), "test"))


@pytest.fixture
def work(made, tmp_path):
    """The same in a folder of its own."""
    copytree(made[0].path, tmp_path / "s.zarr")
    return open_store(LocalPath(tmp_path / "s.zarr")), made[1]


def warp(store, between, **settings):
    return warp_train_split(store, between, workers=0, **{"ct_per_mri": 2} | settings)


def test_each_mri_gets_cts_of_others_and_weights_that_add_up(work):
    store, between = work

    found = warp(store, between)

    companions = open_companions(store.path, found.key)
    assert (len(found.warped), found.kept, found.problems) == (3, [], [])
    for mri in store.select("mri", "train"):
        group, body = companions.of(mri.name), store.body(mri).astype(bool)
        hu, weight = group.voxels
        assert hu.shape == (2, *mri.shape)
        assert (hu[:, ~body] == -1024).all()
        assert not weight[:, ~body].any()
        total = weight.sum(axis=0, dtype=int)[body]
        assert total.min() >= 254
        assert total.max() <= 256
        assert all(np.isfinite(group.quality))
        real = store.voxels(store.volumes.named(group.cts[0].name))
        assert abs(hu[0][body].mean() - real[body].mean()) < 200


def test_nothing_is_made_twice_and_other_settings_are_kept_apart(work):
    store, between = work
    first = warp(store, between)
    before = open_companions(store.path, first.key).hash

    second = warp(store, between)

    assert (len(second.kept), second.made) == (3, [])
    assert open_companions(store.path, second.key).hash == before
    third = warp(store, between, ct_per_mri=1)
    assert third.key != first.key
    assert len(third.warped) == 3
    assert open_companions(store.path, first.key).hash == before


def test_a_model_is_registered_to_instead_of_the_table(work):
    store, between = work
    seen = []

    def translate(mri):
        seen.append(mri.name)
        return np.zeros(mri.shape, np.float32)

    of_model = GoBetween(table=between.table, model_sha256="1" * 64, translate=translate)
    found = warp(store, of_model)

    assert found.key != warp(store, between).key
    assert seen == [mri.name for mri in store.select("mri", "train")]


KILLED = """
import sys
from cyclegan.anchor import stage
from data_prep.store.companions.cache import put_group
from data_prep.store.store import open_store
from mrct.storage.paths import storage_path
from tests.cyclegan.anchor.test_stage import table_of, warp
from tests.support.kills import kill_this_process

written = []

def put(path, group):
    if written:
        kill_this_process()
    written.append(put_group(path, group))
    return True

stage.put_group = put
store = open_store(storage_path(sys.argv[1]))
warp(store, table_of(store))
"""


def test_a_killed_stage_continues_where_it_stopped(made, work):
    store, between = work
    # In a process of its own: ITK's threads do not survive a fork.
    killed = subprocess.run([sys.executable, "-c", KILLED, store.path], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL

    again = warp(store, between)

    assert (len(again.kept), len(again.warped)) == (1, 2)
    unbroken = warp(made[0], between)
    hashes = [open_companions(each.path, unbroken.key).hash for each in (store, made[0])]
    assert hashes[0] == hashes[1]


def test_a_damaged_group_is_told_and_made_again(work):
    store, between = work
    first = warp(store, between)
    expected = open_companions(store.path, first.key).hash
    mris = [mri.name for mri in store.select("mri", "train")]
    (group_path(store.path, first.key, mris[0]) / "ct/c/0/0/0").write_bytes(b"")
    (group_path(store.path, first.key, mris[1]) / "zarr.json").write_text("{}")

    second = warp(store, between)

    assert [each.mri for each in second.warped] == mris[:2]
    assert len(second.remade) == 2
    assert mris[0].replace("/", "-") in second.remade[0]
    assert open_companions(store.path, second.key).hash == expected


def test_a_removed_subject_is_replaced_by_another(work):
    store, between = work
    first = warp(store, between)
    mri = store.select("mri", "train")[0]
    gone = open_companions(store.path, first.key).of(mri.name).cts[0]

    remove_subject(store.path, gone.subject)
    store = open_store(store.path)
    found = warp(store, between)

    companions = open_companions(store.path, found.key)
    used = {ct.name for each in companions.by_mri.values() for ct in each.cts}
    assert used == {ct.name for ct in store.select("ct", "train")}
    assert all(len(each.cts) == 2 for each in companions.by_mri.values())


def test_what_cannot_be_warped_is_told_and_the_rest_is_done(work):
    store, between = work
    mris = store.select("mri", "train")
    shard = store.path / mris[1].name / "0/c/0/0/0"
    shard.write_bytes(bytes(len(shard.read_bytes())))

    found = warp(store, between, ct_per_mri=1)

    assert len(found.warped) == 2
    (problem,) = found.problems
    assert problem.startswith(f"{mris[1].name}: ")
    assert "--repair --full" in problem


def test_without_both_domains_or_beside_another_writer_nothing_begins(work, tmp_path):
    store, between = work
    alone = make_store(tmp_path / "one.zarr", mri=1, ct=0, shape=SHAPE)

    with pytest.raises(DataError, match="1 MRIs and 0 CTs"):
        warp(alone, between)
    with write_lock(store.path), pytest.raises(StoreError, match="is writing to"):
        warp(store, between)


@pytest.mark.ray
def test_tasks_make_what_this_process_makes(work):
    store, between = work
    here = warp(store, between)
    expected = open_companions(store.path, here.key).hash
    for mri in store.select("mri", "train"):
        group_path(store.path, here.key, mri.name).remove()

    found = warp_train_split(store, between, ct_per_mri=2, workers=2)

    assert len(found.warped) == 3
    assert open_companions(store.path, found.key).hash == expected
