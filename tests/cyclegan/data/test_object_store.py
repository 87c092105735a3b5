"""Batches from a store under a URL are those from a folder, and damage is met in the same way."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data.batch import Batch
from cyclegan.data.slice_source import Substitution
from cyclegan.data.stream import open_stream
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.storage.paths import storage_path
from tests.support.object_store import s3_server
from tests.support.stores import make_store

STEPS = 4


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


def batches(store: Store, start_step: int = 0, **data: object) -> tuple[list[Batch], list[str]]:
    """The steps from `start_step` to STEPS, and the slices that others stood in for."""
    config = Config(
        data=DataConfig(**({"min_body_fraction": 0, "noise": 0.02} | data)),
        batch=BatchConfig(shards=2, shard_size=3),
    )
    records: list[Substitution] = []
    stream = open_stream(
        store,
        config,
        "train",
        shards=range(2),
        start_step=start_step,
        device=torch.device("cpu"),
        record=records.append,
    )
    with closing(stream):
        return list(islice(stream, STEPS - start_step)), [record.damaged for record in records]


def test_batches_from_a_url_are_those_from_a_folder_also_resumed(
    bucket: str, tmp_path: Path
) -> None:
    local = make_store(tmp_path / "s.zarr", shape=(6, 32, 24))
    remote = make_store(storage_path(f"{bucket}/same.zarr"), shape=(6, 32, 24))

    expected, _ = batches(local)

    for start_step in (0, 3):
        ours, _ = batches(remote, start_step)
        for one, other in zip(ours, expected[start_step:], strict=True):
            for name in ("mri", "ct", "mri_body", "ct_body"):
                assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_damaged_object_stops_the_stream_or_is_stood_in_for(bucket: str) -> None:
    store = make_store(storage_path(f"{bucket}/damaged.zarr"), shape=(6, 32, 24))
    name = store.volumes[0].name
    shard = store.path / name / "0/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[20] ^= 1  # behind Blosc's header, in the first slice's chunk
    shard.put(bytes(content))

    with pytest.raises(StoreError, match=f"{name}.*slice 0"):
        batches(store)
    shown, damaged = batches(store, on_corrupt="substitute", max_corrupt=0.2)

    assert len(shown) == STEPS
    assert set(damaged) == {f"{name} slice 0"}
