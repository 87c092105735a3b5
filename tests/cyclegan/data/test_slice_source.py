"""Damaged slices: the run stops, or goes on with the same others each time, and says which."""

from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data.batch import Batch
from cyclegan.data.slice_source import Substitution, append_to
from cyclegan.data.stream import open_stream
from data_prep.store.store import Store
from mrct.errors import StoreError
from tests.support.stores import make_store

STEPS = 4
SHARDS = 2


def config(**data: object) -> Config:
    return Config(
        data=DataConfig(**({"min_body_fraction": 0, "on_corrupt": "substitute"} | data)),  # type: ignore[arg-type]
        batch=BatchConfig(shards=SHARDS, shard_size=3),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "s.zarr", mri=3, ct=3, shape=(8, 32, 24))


def flip_a_bit(store: Store, number: int, array: str = "0") -> str:
    """In the first slice's chunk of a volume."""
    name = store.volumes[number].name
    shard = store.path / name / array / "c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1  # behind Blosc's header
    shard.write_bytes(data)
    return name


def batches(
    store: Store, config: Config, start_step: int = 0, shards: range = range(SHARDS)
) -> tuple[list[Batch], list[Substitution]]:
    records: list[Substitution] = []
    stream = open_stream(
        store,
        config,
        "train",
        shards=shards,
        start_step=start_step,
        device=torch.device("cpu"),
        record=records.append,
    )
    with closing(stream):
        return list(islice(stream, STEPS - start_step)), records


def test_only_the_damaged_slices_are_others_and_each_is_recorded(store: Store) -> None:
    whole, nothing = batches(store, config())
    assert not nothing
    damaged = [flip_a_bit(store, 0), flip_a_bit(store, 4, "labels/body/0")]

    mended, records = batches(store, config(max_corrupt=0.2))

    asked = {record.index for record in records if record.index < STEPS * SHARDS * 3}
    assert {record.damaged.split()[0] for record in records} == set(damaged)
    assert all(record.damaged.endswith("slice 0") for record in records)
    in_the_end = {(record.index, record.damaged[:3]): record.taken for record in records}
    assert not set(in_the_end.values()) & {f"{name} slice 0" for name in damaged}
    assert all(store.path.name in record.found for record in records)
    for name in ("mri", "ct"):
        before, after = (torch.cat([getattr(b, name) for b in each]) for each in (whole, mended))
        changed = (before != after).flatten(1).any(dim=1).nonzero()[:, 0].tolist()
        assert set(changed) <= asked
        assert changed  # a slice of three volumes is met within four steps of six
        assert after.isfinite().all()


def test_a_resumed_run_and_other_workers_take_the_same_substitutes(store: Store) -> None:
    flip_a_bit(store, 0)
    flip_a_bit(store, 4)
    unbroken, _ = batches(store, config(max_corrupt=0.2))

    resumed, _ = batches(store, config(max_corrupt=0.2), start_step=2)
    shares = [batches(store, config(max_corrupt=0.2), shards=range(s, s + 1))[0] for s in range(2)]

    for step, batch in enumerate(unbroken):
        both = torch.cat([share[step].mri for share in shares])
        assert torch.equal(batch.mri, both)
        if step >= 2:
            assert torch.equal(batch.mri, resumed[step - 2].mri)
            assert torch.equal(batch.ct, resumed[step - 2].ct)


def test_a_lost_volume_is_left_out_as_a_whole(store: Store) -> None:
    name = store.volumes[0].name
    (store.path / name / "0" / "zarr.json").unlink()

    _, records = batches(store, config(max_corrupt=0.5))

    assert {record.damaged.split()[0] for record in records} == {name}
    shown_last = {record.index: record.taken for record in records}
    assert all(not taken.startswith(name) for taken in shown_last.values())


def test_too_many_damaged_slices_stop_the_run_with_their_number(store: Store) -> None:
    for number in range(3):
        (store.path / store.volumes[number].name / "0" / "c/0/0/0").unlink()

    with pytest.raises(StoreError, match=r"of the 24 CT slices are damaged, .*--data.max-corrupt"):
        batches(store, config(max_corrupt=0.2))


def test_the_default_is_to_stop_at_the_first(store: Store) -> None:
    name = flip_a_bit(store, 0)

    with pytest.raises(StoreError, match=f"{name}.*slice 0"):
        batches(store, config(on_corrupt="stop"))


def test_records_are_lines_of_json_and_told_to_people(tmp_path: Path) -> None:
    notes: list[str] = []
    record = append_to(tmp_path / "substituted.jsonl", notes.append)
    substitution = Substitution(
        index=17, attempt=0, damaged="mri/a slice 3", taken="mri/b slice 4", found="crc"
    )

    record(substitution)
    record(substitution)

    first, second = (tmp_path / "substituted.jsonl").read_text().splitlines()
    assert first == second
    assert '"index": 17' in first
    assert notes[0].startswith("Sample 17 shows mri/b slice 4, because mri/a slice 3 is damaged")


def test_a_damaged_neighbour_is_damage_too(store: Store) -> None:
    name = flip_a_bit(store, 0)

    _, records = batches(store, config(max_corrupt=0.3, neighbours=1))

    met = {record.damaged for record in records}
    assert met <= {f"{name} slice 0", f"{name} slice 1"}
    assert np.size(records)
