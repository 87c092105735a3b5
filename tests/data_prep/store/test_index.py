"""The index says what the commit records say, opens at one price, and notices every change."""

import errno
import json
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from data_prep.store import index
from data_prep.store.commits import read_commits, seal
from data_prep.store.history import index_of
from data_prep.store.index import INDEX, Index, Volumes
from data_prep.store.store import open_store
from mrct.errors import StorageFullError, StoreError
from mrct.storage import local_path
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import storage_path
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    return make_store(path, mri=3, ct=2, paired=1, splits=("train", "val"))


def test_volumes_are_those_of_the_commit_records(store):
    records = [record["volume"] for record in read_commits(store.path)]

    assert [json.loads(json.dumps(v.to_json())) for v in store.volumes] == records


def test_equal_records_give_equal_bytes_in_any_order(store):
    records = read_commits(store.path)
    assert index_of(records[::-1]) == index_of(records) == (store.path / INDEX).read_bytes()


def test_the_library_of_the_format_reads_the_same_columns(store):
    columns = safetensors.numpy.load_file(store.path / INDEX)

    assert {"name", "affine", "body_fraction", "bytes"} < columns.keys()
    for name, values in columns.items():
        np.testing.assert_array_equal(Index(store.path / INDEX).column(name), values)


def test_selections_and_slices_are_sequences_in_order_of_name(store):
    names = [volume.name for volume in store.volumes]
    assert names == sorted(names)
    assert [v.name for v in store.volumes[1:4]] == names[1:4]
    assert store.volumes[-1].name == names[-1]
    with pytest.raises(IndexError):
        store.volumes[len(names)]
    chosen = store.select("mri", "train")
    assert [v.name for v in chosen] == [
        v.name for v in store.volumes if (v.modality, v.split) == ("mri", "train")
    ]
    assert chosen.column("bytes").min() > 0


def test_a_volume_is_found_by_its_name_and_no_other_is(store):
    for volume in store.volumes:
        found = store.volumes.named(volume.name)
        assert found is not None
        assert found.to_json() == volume.to_json()
    for name in ("", "ct/", "mri/zzz", "zzz", store.volumes[0].name[:-1]):
        assert store.volumes.named(name) is None


def test_a_store_of_no_volume_opens(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=0, ct=0)
    assert len(store.volumes) == len(store.select("mri", "train")) == 0
    assert store.volumes.named("mri/x") is None


def test_opening_reads_the_header_alone(store, monkeypatch):
    reached, ranges = [], LocalPath.ranges

    def watched(path):
        read = ranges(path)
        return lambda start, stop: reached.append(stop) or read(start, stop)

    monkeypatch.setattr(LocalPath, "ranges", watched)
    volumes = Volumes(Index(store.path / INDEX))
    assert len(volumes) == 7
    header = max(reached)
    content = (store.path / INDEX).read_bytes()
    assert header == 8 + int.from_bytes(content[:8], "little")

    assert len(volumes.select("ct", "val")) > 0
    assert max(reached) > header


def test_every_flipped_bit_is_found_when_volumes_are_read(store, tmp_path):
    content = (store.path / INDEX).read_bytes()
    copy, random = tmp_path / INDEX, np.random.default_rng(0)
    unnoticed = []
    for at in random.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[at] ^= 1 << random.integers(8)
        copy.write_bytes(damaged)
        try:
            index = Index(copy)
            if [v.to_json() for v in Volumes(index)] != [v.to_json() for v in store.volumes]:
                unnoticed.append(at)
            index.column("bytes")
        except StoreError:
            continue
        else:
            unnoticed.append(at)
    assert unnoticed == []


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_cut_index_is_refused_and_the_remedy_named(store, tmp_path, length):
    content = (store.path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(content[:length])
    with pytest.raises(StoreError, match="--repair"):
        list(Volumes(Index(tmp_path / INDEX)))


def crafted(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """An index whose header was changed, under a seal that fits."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    sealed = json.loads(header.pop("__metadata__")["sealed"])
    del sealed["sha256"]
    change(sealed)
    text = json.dumps(sealed["columns"] | {"__metadata__": {"sealed": seal(sealed).decode()}})
    return len(text).to_bytes(8, "little") + text.encode() + content[start:]


def longer(sealed: dict[str, Any]) -> None:
    """Claim as many bytes as rows, of which the file has the first."""
    facts = sealed["columns"]["bytes"]
    facts |= {"shape": [10**15], "data_offsets": [0, 8 * 10**15]}


@pytest.mark.parametrize(
    "change",
    [
        lambda sealed: sealed["columns"]["name"].update(shape=[10**12, 20]),
        lambda sealed: sealed["columns"]["name"].update(shape=[-1, -140]),
        lambda sealed: sealed["columns"]["name"].update(data_offsets=[-140, 0]),
        lambda sealed: sealed["columns"]["name"].update(dtype="F16"),
        lambda sealed: sealed["columns"].update(name=[]),
        lambda sealed: sealed["sha256_of"].pop("bytes"),
        lambda sealed: sealed.pop("schema"),
        longer,
    ],
)
def test_a_crafted_header_takes_neither_memory_nor_time(store, tmp_path, change):
    path, content = tmp_path / INDEX, (store.path / INDEX).read_bytes()
    path.write_bytes(crafted(content, lambda sealed: None))
    assert len(Index(path).column("bytes")) == 7
    path.write_bytes(crafted(content, change))

    with pytest.raises(StoreError, match="--repair"):
        Index(path).column("bytes")


def test_a_deep_header_is_a_damaged_one(tmp_path):
    text = b"[" * 100_000
    (tmp_path / INDEX).write_bytes(len(text).to_bytes(8, "little") + text)

    with pytest.raises(StoreError, match="nested too deeply"):
        Index(tmp_path / INDEX)


def test_an_index_cut_while_it_is_open_is_an_error_and_no_crash(store, tmp_path):
    path = tmp_path / INDEX
    path.write_bytes((store.path / INDEX).read_bytes())
    index = Index(path)

    path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(StoreError, match="was changed"):
        index.column("shape")


def test_an_index_that_is_replaced_meanwhile_does_not_change_an_open_store(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=1)
    make_store(store.path, mri=1, ct=0, seed=5)

    assert len([volume.name for volume in store.volumes]) == 3
    assert len(open_store(store.path).volumes) == 4
    assert open_store(store.path).contents != store.contents


def test_what_was_read_of_an_index_stays_when_the_file_is_written_over(store, tmp_path):
    path = tmp_path / INDEX
    content = (store.path / INDEX).read_bytes()
    path.write_bytes(content)
    index = Index(path)
    names = [index.text("name", row) for row in range(7)]

    path.write_bytes(content[:200] + bytes(len(content) - 200))

    assert [index.text("name", row) for row in range(7)] == names
    with pytest.raises(StoreError, match="column subject was changed"):
        index.text("subject", 2)


def test_no_column_stays_in_memory(tmp_path):
    record = read_commits(make_store(tmp_path / "s.zarr", mri=1, ct=0, shape=(40, 16, 16)).path)[0]
    records = [
        record | {"volume": record["volume"] | {"name": f"mri/{number:016x}"}}
        for number in range(200)
    ]
    path = tmp_path / INDEX
    path.write_bytes(index_of(records))

    tracemalloc.start()
    volumes = Volumes(Index(path))
    assert sum(len(volume.height) for volume in volumes) == 40 * 200
    readers = [tracemalloc.Filter(True, read.__file__) for read in (index, local_path)]
    kept = tracemalloc.take_snapshot().filter_traces(readers)
    tracemalloc.stop()

    assert path.stat().st_size > 500 * 200
    assert sum(trace.size for trace in kept.traces) < 50 * 200  # numbers of rows


def test_an_index_under_a_url_is_read_like_a_local_one(store, monkeypatch):
    monkeypatch.setattr("data_prep.store.index._READ_AT_ONCE", 100)
    url = storage_path(f"memory://{INDEX}")
    url.put((store.path / INDEX).read_bytes())

    assert [v.to_json() for v in Volumes(Index(url))] == [v.to_json() for v in store.volumes]


def test_threads_that_check_columns_at_the_same_time_do_not_mix_them(store, monkeypatch):
    monkeypatch.setattr("data_prep.store.index._READ_AT_ONCE", 16)
    names = ["name", "subject", "affine", "source_affine", "outline", "body_fraction"]
    expected = {name: store.volumes._index.column(name).tobytes() for name in names}

    ranges = LocalPath.ranges

    def slowly(path):
        read = ranges(path)
        return lambda start, stop: time.sleep(1e-5) or read(start, stop)

    monkeypatch.setattr(LocalPath, "ranges", slowly)
    index = Index(store.path / INDEX)
    with ThreadPoolExecutor(len(names)) as threads:
        found = list(threads.map(lambda name: index.column(name).tobytes(), names))

    assert found == [expected[name] for name in names]


def test_a_full_temporary_folder_is_named(store, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(StorageFullError, match="set TMPDIR"):
        Index(store.path / INDEX).column("name")
