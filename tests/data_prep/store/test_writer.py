"""A volume is there whole or not at all, whenever the writer is killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorstore

from data_prep.store.history import rebuild_index
from data_prep.store.store import open_store
from data_prep.store.writer import create_store, write_lock, write_volume
from mrct.errors import StoreError
from mrct.storage.lock import exclusive_lock
from tests.conftest import ROOT
from tests.support.full_disk import files_no_larger_than
from tests.support.stores import make_store, prepared, random_head

SHAPE = (6, 64, 64)


def new_volume(seed: int = 9, modality: str = "mri"):
    head = random_head(np.random.default_rng(seed), SHAPE)
    return prepared(modality, f"{seed:016x}", "train", head, (3.0, 2.0, 2.0))


def test_a_volume_without_a_commit_record_does_not_exist_and_is_swept(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=1)
    victim = store.select("mri", "train")[0]
    (store.path / "commits" / f"{victim.name.replace('/', '-')}.json").unlink()
    (store.path / ".partial-0123-x").mkdir()
    (store.path / "commits/.partial-4567-y.json").touch()

    with write_lock(store.path) as swept:
        rebuild_index(store.path)

    assert swept == 3
    assert not (store.path / victim.name).exists()
    assert victim.name not in {volume.name for volume in open_store(store.path).volumes}
    assert not list(store.path.rglob(".partial-*"))


def test_a_failure_before_the_commit_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1)
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrct.storage.atomic.sync_folder", full)
    with pytest.raises(OSError, match="No space"):
        write_volume(store.path, new_volume())

    after = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    assert after == before


WRITER = """
import itertools, sys
from mrct.storage.paths import storage_path
from tests.data_prep.store.test_writer import new_volume
from data_prep.store.writer import write_volume
for seed in itertools.count(int(sys.argv[2])):
    volume = new_volume(seed)
    print("next", flush=True)
    write_volume(storage_path(sys.argv[1]), volume)
"""


@pytest.mark.slow
def test_what_a_killed_writer_leaves_is_sound_or_invisible(tmp_path):
    path = make_store(tmp_path / "s.zarr", mri=0, ct=1).path
    for attempt, delay_s in enumerate((0.0, 0.01, 0.03)):
        arguments = [sys.executable, "-c", WRITER, path, str(100 * attempt)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=ROOT) as writer:
            for _ in range(3):
                assert writer.stdout.readline() == b"next\n"
            time.sleep(delay_s)
            os.kill(writer.pid, signal.SIGKILL)

        with write_lock(path):
            rebuild_index(path)
        store = open_store(path)
        for volume in store.volumes:
            store.verify(volume, full=True)
        assert len(store.volumes) >= 1 + 2 * (attempt + 1)


FORKS = """
import os, signal, sys, time
from mrct.storage.paths import storage_path
from mrct.errors import StoreError
from mrct.storage.lock import exclusive_lock
with exclusive_lock(storage_path(sys.argv[1]), StoreError("busy")):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_process_that_was_killed_while_it_forked_is_waited_for(tmp_path):
    lock = tmp_path / ".lock"
    subprocess.run([sys.executable, "-c", FORKS, lock], cwd=ROOT, check=False)

    with exclusive_lock(lock, StoreError("busy")):
        assert str(os.getpid()) in lock.read_text()


def test_writing_a_volume_again_replaces_it(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=0, ct=1)
    for volume in (new_volume(9), new_volume(9)):
        stored = write_volume(store.path, volume)
    rebuild_index(store.path)

    store = open_store(store.path)
    store.verify(stored, full=True)
    np.testing.assert_array_equal(store.voxels(stored), volume.preprocessed.voxels)


def test_a_volume_outlives_a_successor_that_does_not_fit(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=0, ct=1)
    write_volume(store.path, new_volume())
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    successor = new_volume()
    successor.preprocessed.voxels[2] = 0

    with files_no_larger_than(1000), pytest.raises(OSError, match="File too large"):
        write_volume(store.path, successor)

    after = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    assert after == before


def test_a_slice_of_zeros_is_written_and_not_taken_for_a_lost_one(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=0, ct=1)
    volume = new_volume()
    volume.preprocessed.voxels[2] = 0
    name = write_volume(store.path, volume).name
    spec = {"driver": "zarr3", "kvstore": f"file://{store.path / name / '0'}"}

    array = tensorstore.open(spec | {"fill_missing_data_reads": False}).result()

    assert not array[2].read().result().any()


def test_another_preprocessing_is_refused_and_the_difference_named(tmp_path):
    path = make_store(tmp_path / "s.zarr", mri=1, ct=1).path
    with pytest.raises(StoreError, match=r"spacing_mm: store \[3.0, 2.0, 2.0\], asked for \[3.0,"):
        create_store(path, spacing_mm=(3.0, 1.0, 2.0), size=(64, 64), settings={})
    with pytest.raises(StoreError, match=r"window_hu"):
        create_store(
            path, spacing_mm=(3.0, 2.0, 2.0), size=(64, 64), settings={"window_hu": (0, 1)}
        )


def test_equal_settings_give_equal_fingerprints(tmp_path):
    settings = {"spacing_mm": (3.0, 2.0, 2.0), "size": (64, 64), "settings": {"a": (1, 2)}}
    first = create_store(tmp_path / "a.zarr", **settings)
    assert create_store(tmp_path / "b.zarr", **settings) == first
    assert create_store(tmp_path / "a.zarr", **settings) == first


def test_a_second_writer_is_sent_away(tmp_path):
    path = make_store(tmp_path / "s.zarr", mri=1, ct=1).path
    with write_lock(path), pytest.raises(StoreError, match="Another conversion"), write_lock(path):
        pass
    with write_lock(path) as swept:
        assert swept == 0
