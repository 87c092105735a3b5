"""A reader gets the voxels that were committed, or an error that names the file."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from data_prep.preprocess.spec import VERSION, PreprocessingSpec
from data_prep.store.check import check
from data_prep.store.commits import seal
from data_prep.store.history import rebuild_index
from data_prep.store.index import INDEX
from data_prep.store.store import open_store
from data_prep.store.writer import create_store, write_volume
from mrct.errors import StoreError, UsageError
from tests.support.stores import make_store, prepared, random_head


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "s.zarr"
    return make_store(path, mri=2, ct=2, paired=1, splits=("train", "val"))


@pytest.fixture
def store(original, tmp_path):
    return open_store(shutil.copytree(original.path, tmp_path / "s.zarr"))


def shard(store, volume, array="0"):
    return store.path / volume.name / array / "c/0/0/0"


def test_opening_again_gives_the_same_volumes(store):
    again = open_store(store.path)

    assert [v.to_json() for v in again.volumes] == [v.to_json() for v in store.volumes]
    assert (again.spacing_mm, again.size) == ((3.0, 2.0, 2.0), (64, 64))
    assert again.fingerprint == store.fingerprint


def test_a_store_of_an_earlier_preprocessing_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "s.zarr"
    earlier = PreprocessingSpec(version=VERSION - 1)
    create_store(
        path, spacing_mm=earlier.spacing_mm, size=earlier.size, settings=earlier.settings()
    )
    rebuild_index(path)

    with pytest.raises(StoreError, match=rf"by preprocessing {VERSION - 1}.*Convert again"):
        open_store(path)


def test_volumes_are_selected_by_domain_and_split(store):
    assert len(store.select("mri", "train")) == 1
    assert len(store.select("ct", "val")) == 2
    assert len(store.select("ct", "test")) == 0


def test_linked_volumes_name_each_other_and_share_a_subject(store):
    by_name = {volume.name: volume for volume in store.volumes}
    linked = [volume for volume in store.volumes if volume.link]
    assert len(linked) == 2
    for volume in linked:
        assert by_name[volume.link].link == volume.name
        assert by_name[volume.link].subject == volume.subject


def test_a_pair_on_two_grids_is_refused_with_what_to_remove(tmp_path):
    """What may look as if it fitted: slices of one size, some millimetres apart."""
    store = make_store(tmp_path / "s.zarr", mri=0, ct=0, paired=1, shape=(4, 32, 32))
    mri, ct = sorted(store.volumes, key=lambda volume: volume.modality, reverse=True)
    assert store.partner(mri).name == ct.name
    head = random_head(np.random.default_rng(1), ct.shape)
    moved = prepared("ct", ct.subject, ct.split, head, store.spacing_mm, link="mri")
    affine = moved.preprocessed.affine.copy()
    affine[2, 3] += 3.0
    write_volume(
        store.path, replace(moved, preprocessed=replace(moved.preprocessed, affine=affine))
    )
    rebuild_index(store.path)
    store = open_store(store.path)

    records = rf"mri-{mri.subject}\.json and ct-{mri.subject}\.json"
    with pytest.raises(StoreError, match=rf"different grids.*{records}"):
        store.partner(mri)
    assert len(check(store)) == 1


def test_the_group_is_an_ome_zarr_image_with_a_label(store):
    group = zarr.open_group(store.path / store.volumes[0].name, mode="r")
    multiscale = group.attrs["ome"]["multiscales"][0]
    assert group.attrs["ome"]["version"] == "0.5"
    assert [(a["name"], a["unit"]) for a in multiscale["axes"]] == [
        (axis, "millimeter") for axis in "zyx"
    ]
    assert multiscale["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [3.0, 2.0, 2.0]}
    ]
    assert group[multiscale["datasets"][0]["path"]].chunks == (1, 64, 64)
    assert group["0"].shards == group["0"].shape
    assert group["labels"].attrs["ome"]["labels"] == ["body"]
    assert group["labels/body/0"].dtype == np.uint8
    assert group["labels/body"].attrs["ome"]["image-label"]["source"]["image"] == "../../"


def test_body_fraction_and_height_describe_the_mask(store):
    volume = store.volumes[0]
    body = store.body(volume)
    np.testing.assert_allclose(volume.body_fraction, body.mean(axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(volume.height, np.linspace(0, 1, 6), atol=1e-4)


def test_a_flipped_byte_in_a_shard_is_found_by_the_full_check_and_by_reading(store):
    volume = store.volumes[0]
    file = shard(store, volume)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)

    store.verify(volume)  # sizes cannot tell
    with pytest.raises(StoreError, match=f"{volume.name}.*0/c/0/0/0.*SHA-256"):
        store.verify(volume, full=True)
    with pytest.raises(StoreError, match=f"{volume.name}.*0/c/0/0/0.*--repair --full.*convert"):
        store.voxels(volume)


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_a_deleted_shard_is_an_error_and_never_zeros(store, array):
    volume = store.volumes[0]
    shard(store, volume, array).unlink()
    with pytest.raises(StoreError, match="is missing"):
        store.voxels(volume)


def test_a_cut_shard_and_a_changed_zarr_json_are_found_at_first_use(store):
    first, second = store.volumes[:2]
    file = shard(store, first)
    file.write_bytes(file.read_bytes()[:-1])
    metadata = store.path / second.name / "0/zarr.json"
    metadata.write_text(metadata.read_text().replace('"fill_value": 0', '"fill_value": 7'))

    with pytest.raises(StoreError, match="bytes, not"):
        store.verify(first)
    with pytest.raises(StoreError, match="SHA-256"):
        store.body(second)


def test_a_stray_file_in_a_volume_is_found(store):
    (store.path / store.volumes[0].name / "0/c/0/0/1").write_bytes(b"?")
    with pytest.raises(StoreError, match="in no commit record"):
        store.verify(store.volumes[0])


def test_an_unknown_codec_is_refused_before_reading(store):
    volume = store.volumes[0]
    metadata = store.path / volume.name / "0/zarr.json"
    text = metadata.read_text().replace('"crc32c"', '"pickle"')
    metadata.write_text(text)
    record = store.path / "commits" / f"{volume.name.replace('/', '-')}.json"
    commit = json.loads(record.read_text())
    commit.pop("sha256")
    commit["files"]["0/zarr.json"] = {
        "bytes": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    record.write_bytes(seal(commit))

    with pytest.raises(StoreError, match="pickle"):
        store.voxels(volume)


def test_a_missing_store_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(StoreError, match="python -m data_prep convert"):
        open_store(tmp_path / "s.zarr")


def test_another_folder_is_no_store(tmp_path):
    with pytest.raises(UsageError, match="is not a store"):
        open_store(tmp_path)


@pytest.mark.parametrize("schema", [3, 5])
def test_another_schema_is_refused_with_the_command(store, schema):
    root = store.path / "zarr.json"
    root.write_text(root.read_text().replace('"schema": 4', f'"schema": {schema}'))
    with pytest.raises(
        StoreError,
        match=rf"schema {schema}, .* reads 4; .*python -m data_prep convert \.\.\. --out",
    ):
        open_store(store.path)


def test_a_store_without_index_names_both_ways_on(store):
    (store.path / INDEX).unlink()
    with pytest.raises(StoreError, match=r"no index.*convert.*check .* --repair"):
        open_store(store.path)
