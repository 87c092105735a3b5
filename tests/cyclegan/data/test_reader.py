"""Reading slices: the right ones, from committed volumes only, and never zeros for what is lost."""

from pathlib import Path

import numpy as np
import pytest

from cyclegan.data.reader import SliceReader
from data_prep.errors import StoreError
from data_prep.store import Store
from tests.stores import make_store

CACHE = 2**20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "s.zarr", mri=2, ct=2, shape=(5, 32, 24))


def shard_of(store: Store, name: str, array: str = "0") -> Path:
    return store.path / name / array / "c" / "0" / "0" / "0"


def test_slices_come_in_the_order_asked_for(store: Store) -> None:
    wanted = [(store.volumes[v], z) for v, z in [(3, 4), (0, 0), (3, 4), (1, 2), (0, 3)]]

    voxels, body = SliceReader(store, CACHE).read(
        [volume.name for volume, _ in wanted], [z for _, z in wanted]
    )

    # The oracle is zarr-python reading whole volumes.
    np.testing.assert_array_equal(voxels, [store.voxels(volume)[z] for volume, z in wanted])
    np.testing.assert_array_equal(body, [store.body(volume)[z] for volume, z in wanted])
    assert (voxels.dtype, body.dtype) == (np.int16, np.uint8)


def test_a_store_without_room_for_a_cache_is_read_all_the_same(store: Store) -> None:
    volume = store.volumes[0]

    for _ in range(2):
        voxels, _ = SliceReader(store, cache_bytes=0).read([volume.name] * 5, range(5))
        np.testing.assert_array_equal(voxels, store.voxels(volume))


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_every_flipped_bit_of_a_shard_is_found(store: Store, array: str) -> None:
    name = store.volumes[0].name
    shard = shard_of(store, name, array)
    whole = shard.read_bytes()
    random = np.random.default_rng(0)

    for place in random.integers(len(whole), size=40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        shard.write_bytes(damaged)
        with pytest.raises(StoreError, match=name):
            SliceReader(store, CACHE).read([name] * 5, range(5))


def test_the_error_names_volume_slice_and_file(store: Store) -> None:
    name = store.volumes[0].name
    shard = shard_of(store, name)
    damaged = bytearray(shard.read_bytes())
    damaged[300] ^= 1  # in the first slice's chunk
    shard.write_bytes(damaged)

    with pytest.raises(StoreError) as caught:
        SliceReader(store, CACHE).read([store.volumes[1].name, name], [3, 0])

    for part in (name, f"{name}/0/c/0/0/0", "slice 0", "data_prep convert"):
        assert part in str(caught.value)
    assert SliceReader(store, CACHE).read([name], [1])[0].any()  # its other slices are whole


@pytest.mark.parametrize("loss", ["gone", "short", "empty"])
@pytest.mark.parametrize("when", ["before its first use", "after its first use"])
def test_a_lost_shard_is_an_error_and_never_zeros(store: Store, loss: str, when: str) -> None:
    name = store.volumes[0].name
    shard = shard_of(store, name)
    reader = SliceReader(store, cache_bytes=0)
    if when == "after its first use":
        reader.read([name], [0])

    if loss == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:40] if loss == "short" else b"")

    with pytest.raises(StoreError, match=name):
        reader.read([name], [1])


def test_a_volume_is_compared_with_its_commit_record_when_first_used(store: Store) -> None:
    first, second = store.volumes[0].name, store.volumes[1].name
    metadata = store.path / first / "0" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"fill_value": 0', '"fill_value": 7'))

    reader = SliceReader(store, CACHE)

    reader.read([second], [0])  # only what is used is verified
    with pytest.raises(StoreError, match="SHA-256"):
        reader.read([first], [0])
