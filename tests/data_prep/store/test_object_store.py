"""A store under a URL holds what a folder would, and is written and read by the same code."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from s3fs import S3FileSystem

from cyclegan.data.reader import SliceReader, SliceRef
from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.store.check import check, repair
from data_prep.store.commits import commit_path
from data_prep.store.history import rebuild_index
from data_prep.store.store import open_store
from data_prep.store.writer import create_store, write_lock, write_volume
from mrct.errors import StoreError, UsageError
from mrct.storage import retry
from mrct.storage.atomic import PARTIAL
from mrct.storage.lock import exclusive_lock
from mrct.storage.object_path import ObjectPath
from mrct.storage.paths import storage_path
from tests.conftest import ROOT
from tests.data_prep.store.test_writer import new_volume
from tests.support.object_store import s3_server, unreachable
from tests.support.stores import make_store
from tests.support.volumes import write_head

GRID_OF_STORE = {"spacing_mm": (3.0, 1.0, 1.0), "size": (64, 64), "settings": {}}
GRID = {"spacing_mm": (6.0, 4.0, 4.0), "size": (56, 48), "workers": 0}


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


@pytest.fixture
def folders(tmp_path):
    for number in range(2):
        write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
        write_head(tmp_path / f"ct/{number}.nii", "ct", number + 10)
    return {"mri": tmp_path / "mri", "ct": tmp_path / "ct", "key_file": tmp_path / "key"}


def files_of(path) -> dict[str, bytes]:
    """All of a store but its locks."""
    names = [name for name in path.sizes() if name not in (".lock", ".commit")]
    return {name: (path / name).read_bytes() for name in names}


def test_convert_writes_the_same_files_to_s3_as_to_a_folder(bucket, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    remote, local = storage_path(f"{bucket}/same.zarr"), tmp_path / "same.zarr"

    report = convert(ConvertSettings(out=remote, **folders, **GRID))
    convert(ConvertSettings(out=local, **folders, **GRID))

    assert (report.written, report.refused) == (4, ())
    assert files_of(remote) == files_of(local)
    again = convert(ConvertSettings(out=remote, **folders, **GRID))
    assert (again.written, again.kept, again.swept) == (0, 4, 0)


def test_a_store_on_s3_is_checked_and_its_slices_are_read(bucket):
    store = make_store(storage_path(f"{bucket}/read.zarr"), mri=2, ct=2)
    refs = [SliceRef(volume, z) for volume, z in zip(store.volumes, [0, 3, 5, 2], strict=True)]

    voxels, body = SliceReader(store, cache_bytes=2**20).start(refs).whole()

    assert check(store, full=True) == []
    for image, mask, volume, z in zip(voxels, body, store.volumes, [0, 3, 5, 2], strict=True):
        np.testing.assert_array_equal(image, store.voxels(volume)[z])
        np.testing.assert_array_equal(mask, store.body(volume)[z])


@pytest.mark.parametrize("loss", ["gone", "cut", "changed"])
def test_a_damaged_object_is_an_error_and_never_zeros(bucket, loss):
    store = make_store(storage_path(f"{bucket}/{loss}.zarr"), mri=1, ct=1)
    volume = store.volumes[0]
    name = volume.name
    shard = store.path / name / "0/c/0/0/0"
    content = shard.read_bytes()
    reader = SliceReader(store, cache_bytes=0)
    reader.start([SliceRef(volume, 0)]).whole()

    if loss == "gone":
        shard.remove()
    else:
        shard.put(content[:-40] if loss == "cut" else bytes(len(content)))

    assert len(check(store, full=True)) == 1
    for fails in (
        lambda: reader.start([SliceRef(volume, 1)]).whole(),
        lambda: store.voxels(volume),
    ):
        with pytest.raises(StoreError, match=name):
            fails()


def test_repair_takes_the_damaged_volume_out(bucket):
    store = make_store(storage_path(f"{bucket}/repair.zarr"), mri=2, ct=1)
    victim = store.volumes[0].name
    (store.path / victim / "0/c/0/0/0").put(b"?")
    said = []

    assert repair(store.path, said.append) == 1

    assert victim in said[0]
    assert check(open_store(store.path), full=True) == []
    assert not [name for name in store.path.sizes() if victim in name]


def test_what_is_not_committed_does_not_exist_and_is_swept(bucket):
    store = make_store(storage_path(f"{bucket}/sweep.zarr"), mri=1, ct=1)
    victim = store.volumes[0].name
    commit_path(store.path, victim).remove()

    with write_lock(store.path) as swept:
        rebuild_index(store.path)

    assert swept == 1
    assert (store.path / victim).sizes() == {}
    assert len(open_store(store.path).volumes) == 1


def test_any_place_that_fsspec_knows_takes_a_store(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, local = storage_path("memory://bucket/any.zarr"), tmp_path / "any.zarr"

    for path in (out, local):
        assert convert(ConvertSettings(out=path, **folders, **GRID)).written == 4
    try:
        assert convert(ConvertSettings(out=out, **folders, **GRID)).kept == 4
        assert check(open_store(out), full=True) == []
        assert files_of(out) == files_of(local)
    finally:
        out.remove()


def test_another_commit_of_the_same_volume_is_not_overwritten(bucket, monkeypatch):
    store = make_store(storage_path(f"{bucket}/twice.zarr"), mri=0, ct=1)
    record = commit_path(store.path, new_volume().name)
    # Another writer's record appears between this one's look and its put.
    monkeypatch.setattr(ObjectPath, "put_files", lambda *_: record.put(b"another"))

    with pytest.raises(StoreError, match="Another process committed"):
        write_volume(store.path, new_volume())

    assert record.read_bytes() == b"another"


def test_writing_a_volume_again_replaces_it_and_leaves_nothing_else(bucket):
    store = make_store(storage_path(f"{bucket}/again.zarr"), mri=0, ct=1)
    stored = write_volume(store.path, new_volume())
    successor = new_volume()
    successor.preprocessed.voxels[2] = 0

    write_volume(store.path, successor)
    rebuild_index(store.path)
    store = open_store(store.path)
    store.verify(stored, full=True)
    assert not store.voxels(stored)[2].any()
    assert not [name for name in store.path.sizes() if PARTIAL in name]


def test_a_put_that_is_tried_again_after_a_lost_answer_is_no_conflict(bucket):
    path = storage_path(f"{bucket}/object")
    path.put_new(b"content")
    path.put_new(b"content")
    with pytest.raises(FileExistsError):
        path.put_new(b"other")


def test_a_second_writer_is_told_who_writes_and_since_when(bucket):
    path = make_store(storage_path(f"{bucket}/lock.zarr"), mri=1, ct=1).path
    with (
        write_lock(path),
        pytest.raises(StoreError, match=rf"Held by process {os.getpid()} on .* since 20"),
        write_lock(path),
    ):
        pass
    with write_lock(path):
        pass
    assert (path / ".lock").names() == []


def test_the_flag_of_a_dead_process_is_taken_down(bucket):
    path = storage_path(f"{bucket}/dead.zarr")
    code = "import os; from mrct.storage.lock import _owner; print(_owner())"
    dead = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    (path / ".lock/dead.json").put(dead.stdout)

    with exclusive_lock(path / ".lock", StoreError("busy")):
        assert len((path / ".lock").names()) == 1


def test_a_flag_without_signs_of_life_is_taken_down_and_a_living_one_is_not(bucket, monkeypatch):
    path = storage_path(f"{bucket}/stale.zarr")
    stranger = {"host": "elsewhere", "pid": 1, "since": "2026-01-01T00:00:00+00:00"}
    (path / ".lock/other.json").put(json.dumps(stranger).encode())

    with (
        pytest.raises(StoreError, match="process 1 on elsewhere since 2026-01-01"),
        exclusive_lock(path / ".lock", StoreError("busy")),
    ):
        pass
    monkeypatch.setattr("mrct.storage.lock.STALE_S", -1.0)
    with exclusive_lock(path / ".lock", StoreError("busy")):
        assert len((path / ".lock").names()) == 1


def test_of_many_that_come_at_once_never_two_hold_the_lock(bucket):
    path = storage_path(f"{bucket}/race.zarr")
    inside, most, barrier = [0], [0], threading.Barrier(6)

    def contend():
        barrier.wait()
        for _ in range(4):
            try:
                with exclusive_lock(path / ".lock", StoreError("busy")):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    threading.Event().wait(0.02)
                    inside[0] -= 1
            except StoreError:
                continue

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most[0] <= 1
    with exclusive_lock(path / ".lock", StoreError("busy")):
        pass


def test_places_are_told_apart(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert storage_path("a/b.zarr") == tmp_path / "a/b.zarr"
    for protocol in ("file", "local"):
        assert storage_path(f"{protocol}://{tmp_path}/b.zarr") == tmp_path / "b.zarr"
    assert str(storage_path("s3://bucket/b.zarr/")) == "s3://bucket/b.zarr"
    with pytest.raises(UsageError, match="frob://"):
        storage_path("frob://bucket/b.zarr")


def test_tensorstore_is_told_the_endpoint_and_refuses_what_it_cannot_read(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    spec = storage_path("s3://bucket/a/b").kvstore()
    assert (spec["driver"], spec["bucket"], spec["path"]) == ("s3", "bucket", "a/b")
    assert spec["endpoint"] == "http://127.0.0.1:9"
    with pytest.raises(UsageError, match="memory://"):
        storage_path("memory://bucket/a").kvstore()


@pytest.mark.parametrize("trouble", ["no bucket", "no server", "no credentials"])
def test_a_place_that_cannot_be_reached_is_explained(bucket, folders, monkeypatch, trouble):
    out = storage_path("s3://absent/s.zarr" if trouble == "no bucket" else f"{bucket}/s.zarr")
    if trouble == "no bucket":
        with pytest.raises(StoreError, match=r"s3://absent/s.zarr cannot be reached.*bucket"):
            convert(ConvertSettings(out=out, **folders, **GRID))
        return
    if trouble == "no server":
        unreachable(monkeypatch)
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    S3FileSystem.clear_instance_cache()
    try:
        for use in (open_store, lambda path: create_store(path, **GRID_OF_STORE)):
            with pytest.raises(StoreError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
                use(storage_path(str(out)))
    finally:
        S3FileSystem.clear_instance_cache()


def test_a_store_that_does_not_answer_fails_as_a_disk_would(monkeypatch, tmp_path):
    folder, file = unreachable(monkeypatch), tmp_path / "file"
    file.write_bytes(b"content")
    pauses: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", pauses.append)

    for access in (
        lambda: (folder / "file").put(b"content"),
        lambda: folder.names(),
        lambda: (folder / "file").modified(),
        lambda: folder.read_files(["file"]),
        lambda: folder.settle(file),
    ):
        with pytest.raises(OSError, match="EndpointConnectionError"):
            access()
    assert tuple(pauses) == retry.TRANSFER_DELAYS_S
