"""Reading slices: the right ones, from committed volumes only, and never zeros for what is lost."""

from pathlib import Path

import numpy as np
import pytest
import tensorstore

from cyclegan.data.reader import SliceReader, SliceRef
from data_prep.store.store import Store, StoredVolume
from mrct.errors import StoreError, UnreachableError
from tests.support.stores import make_store

CACHE = 2**20
Pixels = tuple[np.ndarray, np.ndarray]


def read(reader: SliceReader, *wanted: tuple[StoredVolume, int]) -> Pixels:
    return reader.start([SliceRef(volume, z) for volume, z in wanted]).whole()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "s.zarr", mri=2, ct=2, shape=(5, 32, 24))


def shard_of(store: Store, name: str, array: str = "0") -> Path:
    return store.path / name / array / "c" / "0" / "0" / "0"


def test_slices_come_in_the_order_asked_for(store: Store) -> None:
    wanted = [(store.volumes[v], z) for v, z in [(3, 4), (0, 0), (3, 4), (1, 2), (0, 3)]]

    voxels, body = read(SliceReader(store, CACHE), *wanted)

    # The oracle is zarr-python reading whole volumes.
    np.testing.assert_array_equal(voxels, [store.voxels(volume)[z] for volume, z in wanted])
    np.testing.assert_array_equal(body, [store.body(volume)[z] for volume, z in wanted])
    assert (voxels.dtype, body.dtype) == (np.int16, np.uint8)


def test_each_new_volume_gives_a_sign_of_life_before_it_is_checked(store, monkeypatch) -> None:
    """On slow storage the checks of a first batch may take longer than a stall is let be."""
    events: list[str] = []
    verify = Store.verify

    def told(self: Store, volume: StoredVolume, **options: bool) -> None:
        events.append("check")
        verify(self, volume, **options)

    monkeypatch.setattr(Store, "verify", told)
    refs = [SliceRef(volume, 0) for volume in store.volumes[:3]]

    SliceReader(store, CACHE).start(refs, lambda: events.append("life")).whole()

    assert events == ["life", "check"] * 3


def test_a_store_without_room_for_a_cache_is_read_all_the_same(store: Store) -> None:
    volume = store.volumes[0]

    for _ in range(2):
        voxels, _ = read(SliceReader(store, cache_bytes=0), *((volume, z) for z in range(5)))
        np.testing.assert_array_equal(voxels, store.voxels(volume))


def test_a_store_that_is_away_is_not_damaged(store: Store) -> None:
    opened, other = store.volumes[0], store.volumes[1]
    reader = SliceReader(store, cache_bytes=0)
    read(reader, (opened, 0))
    away = store.path.rename(store.path.with_name("away.zarr"))

    for volume in (opened, other):
        with pytest.raises(UnreachableError, match="cannot be read now"):
            read(reader, (volume, 1))

    away.rename(store.path)
    for volume in (opened, other):
        voxels, _ = read(reader, (volume, 1))
        np.testing.assert_array_equal(voxels[0], store.voxels(volume)[1])


def file_reads() -> int:
    """How often this process has read from a file through tensorstore, by its own count."""
    name = "/tensorstore/kvstore/file/read"
    metrics = tensorstore.experimental_collect_matching_metrics(name)  # and all longer names
    (counts,) = (metric["values"] for metric in metrics if metric["name"] == name)
    return sum(int(count["value"]) for count in counts)


def test_slices_are_kept_up_to_the_cache_budget_and_the_oldest_go_first(store: Store) -> None:
    volume = store.volumes[0]
    image, mask = 2 * 32 * 24, 32 * 24
    reader = SliceReader(store, cache_bytes=int(3.5 * (image + mask)))
    for z in range(5):
        read(reader, (volume, z))

    from_memory = []
    for z in (4, 3, 0):
        before = file_reads()
        voxels, _ = read(reader, (volume, z))
        np.testing.assert_array_equal(voxels[0], store.voxels(volume)[z])
        from_memory.append(file_reads() == before)

    assert from_memory == [True, True, False]


def test_a_chunk_table_is_read_once_however_many_slices_pass_through_the_cache(
    store: Store,
) -> None:
    """Else every read would be two, as on stores larger than the cache slices push tables out."""
    reader = SliceReader(store, cache_bytes=0)
    read(reader, *((volume, 0) for volume in store.volumes))
    before = file_reads()

    for z in range(1, 5):
        read(reader, *((volume, z) for volume in store.volumes))

    assert file_reads() - before == 4 * len(store.volumes) * 2  # a read for each image and mask


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_every_flipped_bit_of_a_shard_is_found(store: Store, array: str) -> None:
    volume = store.volumes[0]
    name = volume.name
    shard = shard_of(store, name, array)
    whole = shard.read_bytes()
    random = np.random.default_rng(0)

    for place in random.integers(len(whole), size=40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        shard.write_bytes(damaged)
        with pytest.raises(StoreError, match=name):
            read(SliceReader(store, CACHE), *((volume, z) for z in range(5)))


def test_the_error_names_volume_slice_and_file(store: Store) -> None:
    volume = store.volumes[0]
    name = volume.name
    shard = shard_of(store, name)
    damaged = bytearray(shard.read_bytes())
    damaged[300] ^= 1  # in the first slice's chunk
    shard.write_bytes(damaged)

    with pytest.raises(StoreError) as caught:
        read(SliceReader(store, CACHE), (store.volumes[1], 3), (volume, 0))

    for part in (name, f"{name}/0/c/0/0/0", "slice 0", "data_prep convert"):
        assert part in str(caught.value)
    assert read(SliceReader(store, CACHE), (volume, 1))[0].any()  # its other slices are whole


@pytest.mark.parametrize("loss", ["gone", "short", "empty"])
@pytest.mark.parametrize("when", ["before its first use", "after its first use"])
def test_a_lost_shard_is_an_error_and_never_zeros(store: Store, loss: str, when: str) -> None:
    volume = store.volumes[0]
    shard = shard_of(store, volume.name)
    reader = SliceReader(store, cache_bytes=0)
    if when == "after its first use":
        read(reader, (volume, 0))

    if loss == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:40] if loss == "short" else b"")

    with pytest.raises(StoreError, match=volume.name):
        read(reader, (volume, 1))


def test_a_volume_is_compared_with_its_commit_record_when_first_used(store: Store) -> None:
    first, second = store.volumes[:2]
    metadata = store.path / first.name / "0" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"fill_value": 0', '"fill_value": 7'))

    reader = SliceReader(store, CACHE)

    read(reader, (second, 0))  # only what is used is verified
    with pytest.raises(StoreError, match="SHA-256"):
        read(reader, (first, 0))


def test_the_whole_slices_beside_a_damaged_one_are_given_and_it_is_named(store: Store) -> None:
    volume, other = store.volumes[:2]
    shard = shard_of(store, volume.name)
    damaged = bytearray(shard.read_bytes())
    damaged[300] ^= 1  # in the first slice's chunk
    shard.write_bytes(damaged)
    shard_of(store, other.name, "labels/body/0").unlink()

    reading = SliceReader(store, CACHE).start(
        [SliceRef(volume, 2), SliceRef(volume, 0), SliceRef(other, 1), SliceRef(volume, 3)]
    )
    voxels, _ = reading.result()

    assert sorted(reading.damage) == [1, 2]
    assert volume.name in str(reading.damage[1])
    assert other.name in str(reading.damage[2])
    assert not voxels[[1, 2]].any()
    assert voxels[[0, 3]].any(axis=(1, 2)).all()


def test_volumes_beyond_the_number_held_open_are_opened_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyclegan.data.reader.OPEN_VOLUMES", 2)
    reader = SliceReader(store, CACHE)
    wanted = [(store.volumes[v], z) for v, z in [(0, 0), (1, 1), (2, 2), (3, 3), (0, 4), (1, 0)]]

    voxels, _ = read(reader, *wanted)

    np.testing.assert_array_equal(voxels, [store.voxels(volume)[z] for volume, z in wanted])
    assert len(reader._opened) == 2


def test_a_volume_is_verified_once_however_often_it_is_opened(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    verify = Store.verify
    monkeypatch.setattr(
        Store,
        "verify",
        lambda self, volume: (verified.append(volume.name), verify(self, volume))[0],
    )
    monkeypatch.setattr("cyclegan.data.reader.OPEN_VOLUMES", 1)
    reader = SliceReader(store, CACHE)

    for z in range(3):
        read(reader, (store.volumes[0], z), (store.volumes[1], z))

    assert sorted(verified) == sorted(volume.name for volume in store.volumes[:2])
