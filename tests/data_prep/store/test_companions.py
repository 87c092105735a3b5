"""Companions of an MRI are there whole or not at all, verified, and gone with their subjects."""

import json

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.store.check import check, repair
from data_prep.store.commits import erase_volume, removed_subjects
from data_prep.store.companions.cache import (
    companions_with,
    open_companions,
    put_group,
    sweep_companions,
)
from data_prep.store.companions.group import COMPANIONS, group_path, key_of, read_group
from data_prep.store.removal import remove_subject
from data_prep.store.writer import write_volume
from mrct.errors import ExitCode, StoreError
from mrct.storage.object_path import ObjectPath
from tests.support.companions import MADE_FROM, add_companions, random_group
from tests.support.kills import killed_before_rename
from tests.support.stores import make_store, prepared, random_head

SHAPE = (4, 32, 32)
KEY = key_of(MADE_FROM)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "s.zarr", mri=2, ct=3, shape=SHAPE)


@pytest.fixture
def names(store):
    mris, cts = (
        [volume.name for volume in store.select(modality, "train")] for modality in ("mri", "ct")
    )
    return mris, cts


def test_what_was_written_is_read_plane_by_plane(store, names):
    (mri, other), cts = names

    add_companions(store, mri, cts, seed=3)

    companions = open_companions(store.path, KEY)
    found = companions.of(mri)
    assert companions.of(other) is None
    assert [ct.name for ct in found.cts] == cts
    assert (found.kind, found.shape, dict(found.made_from)) == ("warped", SHAPE, MADE_FROM)
    random = np.random.default_rng(3)
    hu = random.integers(-1024, 1500, (3, *SHAPE)).astype(np.int16)
    weight = random.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    for z, k in ((0, 0), (2, 1), (3, 2)):
        np.testing.assert_array_equal(found.read(z, k)[0], hu[k, z])
        np.testing.assert_array_equal(found.read(z, k)[1], weight[k, z])
    assert check(store, full=True) == []


def test_another_reader_finds_the_planes_of_a_slice_side_by_side(store, names):
    zarr = pytest.importorskip("zarr")
    (mri, _), cts = names
    add_companions(store, mri, cts)
    found = read_group(store.path, KEY, mri)

    planes = zarr.open_group(found.folder, mode="r")["ct"]

    assert planes.shape == (SHAPE[0] * 3, *SHAPE[1:])
    np.testing.assert_array_equal(planes[found.plane(2, 1)], found.read(2, 1)[0])


def test_the_hash_is_that_of_voxels_sources_and_settings(store, names):
    (mri, other), cts = names
    hashes = []
    for name, sources, seed in ((mri, cts, 0), (mri, cts, 1), (mri, cts[:2], 1), (other, cts, 0)):
        add_companions(store, name, sources, seed=seed)
        hashes.append(open_companions(store.path, KEY).hash)

    assert len({*hashes}) == 4
    add_companions(store, other, cts, seed=0)
    assert open_companions(store.path, KEY).hash == hashes[-1]
    assert key_of({**MADE_FROM, "table": "1" * 64}) != KEY


def test_a_removed_subject_takes_along_what_was_warped_from_and_onto_it(store, names, capsys):
    (mri, other), cts = names
    add_companions(store, mri, cts[:2])
    add_companions(store, other, cts[1:])
    ct = store.volumes.named(cts[0])

    words = ["remove", str(store.path), "--subject", ct.subject]
    (store.path.parent / "s.zarr.key").write_bytes(b"k" * 32)
    assert main([*words, "--dry-run"]) == ExitCode.DONE
    assert f"companions/{KEY}/{mri.replace('/', '-')}" in capsys.readouterr().out
    remove_subject(store.path, ct.subject)

    companions = open_companions(store.path, KEY)
    assert companions.of(mri) is None
    assert companions.of(other) is not None
    remove_subject(store.path, store.volumes.named(other).subject)
    assert not (store.path / COMPANIONS / KEY).exists()
    telling = [p for p in store.path.rglob("*") if p.is_file() and ct.subject in p.read_text("l1")]
    assert [path.name for path in telling] == ["removed.json"]


def test_companions_that_cannot_be_read_go_with_any_subject(store, names):
    (mri, _), cts = names
    add_companions(store, mri, cts[:1])
    (group_path(store.path, KEY, mri) / "zarr.json").write_text("{}")

    remove_subject(store.path, store.volumes.named(cts[2]).subject)

    assert not group_path(store.path, KEY, mri).exists()


def test_a_worker_that_outlives_its_command_brings_no_subject_back(store, names):
    (mri, _), cts = names
    late = random_group(store, mri, cts)
    remove_subject(store.path, store.volumes.named(cts[0]).subject)

    assert not put_group(store.path, late)

    assert not group_path(store.path, KEY, mri).exists()
    assert removed_subjects(store.path)


def test_what_a_killed_writer_leaves_is_whole_or_swept(store, names):
    (mri, _), cts = names
    kills = 0
    while killed_before_rename(kills, lambda: add_companions(store, mri, cts)):
        kills += 1
        assert open_companions(store.path, KEY).of(mri) is None
        assert sweep_companions(store.path) == 1

    assert kills == 3  # of what the folder replaces, of the folder, of the facts in it
    open_companions(store.path, KEY).of(mri).verify(full=True)
    assert sweep_companions(store.path) == 0


@pytest.mark.parametrize("file", ["zarr.json", "ct/zarr.json", "ct/c/0/0/0", "weight/c/0/0/0"])
@pytest.mark.parametrize("fault", ["flipped", "cut", "lost"])
def test_damage_is_told_and_repaired(store, names, file, fault, capsys):
    (mri, other), cts = names
    for name in (mri, other):
        add_companions(store, name, cts)
    path = group_path(store.path, KEY, mri) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    if fault == "lost":
        path.unlink()
    else:
        path.write_bytes(content if fault == "flipped" else content[:-1])

    problems = check(store, full=True)

    if (file, fault) == ("zarr.json", "lost"):  # as if killed before it was written
        assert problems == []
    else:
        assert len(problems) == 1
        assert file in problems[0]
        assert f"python -m data_prep check {store.path} --repair" in problems[0]
        with pytest.raises(StoreError, match=r"zarr\.json" if file == "zarr.json" else file):
            _ = open_companions(store.path, KEY).of(mri).voxels
    said = []
    assert repair(store.path, said.append, full=True) == 0
    assert said == problems
    companions = open_companions(store.path, KEY)
    assert companions.of(mri) is None
    assert not group_path(store.path, KEY, mri).exists()
    companions.of(other).verify(full=True)


def test_a_volume_that_was_converted_again_makes_its_companions_stale(store, names):
    (mri, other), cts = names
    add_companions(store, mri, cts[:2])
    add_companions(store, other, cts[:1])
    pseudonym = cts[1].removeprefix("ct/")
    head = random_head(np.random.default_rng(99), SHAPE)
    write_volume(store.path, prepared("ct", pseudonym, "train", head, store.spacing_mm))

    companions = open_companions(store.path, KEY)

    with pytest.raises(StoreError, match=f"{cts[1]} was converted again"):
        companions.of(mri).verify()
    companions.of(other).verify()
    erase_volume(store.path, cts[1])
    with pytest.raises(StoreError, match="commit record is missing"):
        companions.of(mri).verify()


def test_foreign_names_are_told_and_left(store, names, tmp_path):
    (mri, _), cts = names
    add_companions(store, mri, cts)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (store.path / COMPANIONS / "notes").mkdir()
    (store.path / COMPANIONS / KEY / "ct-0123").symlink_to(elsewhere)
    (store.path / COMPANIONS / ("f" * 16)).symlink_to(elsewhere)

    problems = check(store)

    assert [p for p in problems if "companions/notes" in p]
    assert [p for p in problems if f"companions/{KEY}/ct-0123" in p]
    remove_subject(store.path, store.volumes.named(cts[0]).subject)
    assert (elsewhere / "file").exists()
    assert (store.path / COMPANIONS / "notes").exists()


def test_facts_of_another_folder_or_version_are_refused(store, names):
    (mri, other), cts = names
    add_companions(store, mri, cts)
    path = group_path(store.path, KEY, mri)
    path.rename(group_path(store.path, KEY, other))

    with pytest.raises(StoreError, match="another folder"):
        open_companions(store.path, KEY)
    facts = json.loads((group_path(store.path, KEY, other) / "zarr.json").read_text())
    assert facts["attributes"]["mri_ct_store"]["version"] == 1


def test_names_that_could_lead_elsewhere_are_refused(store):
    for key, volume in (("../../x", "mri/0123456789abcdef"), (KEY, "mri/.."), (KEY, "ct/0")):
        with pytest.raises(StoreError, match="nothing there was read or deleted"):
            group_path(store.path, key, volume)


def test_an_object_store_keeps_them_too():
    store = make_store(ObjectPath("memory://companions/s.zarr"), mri=1, ct=2, shape=SHAPE)
    mri, cts = "mri", [volume.name for volume in store.select("ct", "train")]
    mri = store.select("mri", "train")[0].name

    add_companions(store, mri, cts)
    (group_path(store.path, KEY, mri) / "zarr.json").remove()  # killed before it was written
    assert open_companions(store.path, KEY).of(mri) is None
    assert sweep_companions(store.path) == 1
    add_companions(store, mri, cts)

    assert companions_with(store.path, store.volumes.named(cts[0]).subject)
    open_companions(store.path, KEY).of(mri).verify(full=True)
    remove_subject(store.path, store.volumes.named(cts[0]).subject)
    assert not (store.path / COMPANIONS).exists()
