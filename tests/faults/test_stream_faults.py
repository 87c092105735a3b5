"""S1 to S8 of the faults to survive: what may happen to a stream of batches, and what it does then.

One run with kills under `make test-all`, and more under `make faults`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data import stream
from cyclegan.data.slice_source import append_to
from cyclegan.data.stream import open_stream, steps_per_epoch
from cyclegan.errors import DataError, LoaderError
from data_prep.store.store import Store, open_store
from mrct import host_limits
from mrct.errors import StoreError, UserError
from tests.support.stores import make_store

FULL = os.environ.get("CYCLEGAN_FAULTS") == "full"
CPU = torch.device("cpu")
CONFIG = Config(
    data=DataConfig(min_body_fraction=0, noise=0.02), batch=BatchConfig(shards=2, shard_size=2)
)
STEPS = 12

LEDGER_STEPS = 8
"""Of the test below; an epoch of its store has 6."""
LEDGER = """
import hashlib, json, sys, time
from pathlib import Path
import torch
from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data.stream import open_stream
from mrct.storage.paths import storage_path
from data_prep.store.store import open_store
path, ledger, world_size, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
config = Config(
    data=DataConfig(min_body_fraction=0, noise=0.02, neighbours=1), batch=BatchConfig(shards=8)
)
done = len(ledger.read_text().splitlines()) if ledger.exists() else 0
streams = [
    open_stream(
        open_store(storage_path(path)),
        config,
        "train",
        shards=config.batch.shards_of(rank, world_size),
        start_step=done,
        device=torch.device("cpu"),
    )
    for rank in range(world_size)
]
with ledger.open("a") as file:
    for step in range(done, last):
        batches = [next(stream) for stream in streams]
        digest = hashlib.sha256()
        for name in ("mri", "ct", "mri_body", "ct_body"):
            digest.update(torch.cat([getattr(b, name) for b in batches]).numpy().tobytes())
        file.write(json.dumps([step, digest.hexdigest()]) + chr(10))
        file.flush()
print("done", flush=True)
time.sleep(60)  # with batches being made: this is when it is killed
"""


def run_and_kill(store: Store, ledger: Path, world_size: int, last: int) -> None:
    """Write the ledger up to step `last` in a process of its own, and kill that with SIGKILL."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEDGER, str(store.path), str(ledger), str(world_size), str(last)],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"done\n"
    process.send_signal(signal.SIGKILL)
    process.wait(60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "s.zarr", mri=3, ct=2, shape=(8, 32, 24))


def opened(store: Store, config: Config = CONFIG, **more: object):  # type: ignore[no-untyped-def]
    return open_stream(
        store,
        config,
        "train",
        **{"shards": range(config.batch.shards), "start_step": 0, "device": CPU, **more},  # type: ignore[arg-type]
    )


def test_s1_a_corrupt_chunk_is_met_before_dali_and_another_slice_stands_in(
    store: Store, tmp_path: Path
) -> None:
    shard = store.path / store.volumes[0].name / "0/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1  # behind Blosc's header
    shard.write_bytes(data)
    substitute = Config(
        data=DataConfig(min_body_fraction=0, on_corrupt="substitute", max_corrupt=0.1),
        batch=CONFIG.batch,
    )
    told: list[str] = []

    with closing(opened(store)) as stops, pytest.raises(StoreError, match="slice 0"):
        list(islice(stops, STEPS))
    record = append_to(tmp_path / "substituted.jsonl", told.append)
    with closing(opened(store, substitute, record=record)) as resumed:
        assert len(list(islice(resumed, STEPS))) == STEPS

    lines = [json.loads(line) for line in (tmp_path / "substituted.jsonl").read_text().splitlines()]
    assert {line["damaged"] for line in lines} == {f"{store.volumes[0].name} slice 0"}
    assert len(told) == len(lines) >= 1


def test_s2_a_loader_that_hangs_is_started_again_and_one_that_hangs_on_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data=DataConfig(min_body_fraction=0, stall_s=1.0), batch=CONFIG.batch)
    with closing(opened(store, config)) as unbroken:
        expected = [batch.mri.clone() for batch in islice(unbroken, 4)]
    release = threading.Event()
    finish, calls = stream.BatchPipeline.finish, []
    hanging = {3}

    def hang(maker):  # type: ignore[no-untyped-def]
        calls.append(maker)
        if len(calls) in hanging:
            release.wait()
        return finish(maker)

    monkeypatch.setattr(stream.BatchPipeline, "finish", hang)
    notes: list[str] = []

    with closing(opened(store, config, note=notes.append)) as once:
        batches = list(islice(once, 4))
    calls.clear()
    hanging = {3, 4}
    with (
        closing(opened(store, config, note=notes.append)) as for_good,
        pytest.raises(LoaderError, match="making the batch of step 2 in DALI"),
    ):
        list(islice(for_good, 4))
    release.set()

    assert all(torch.equal(b.mri, e) for b, e in zip(batches, expected, strict=True))
    assert "making the batch of step 2 in DALI. The step waits" in notes[0]
    assert "restarted at step 2" in notes[0]


@pytest.mark.slow
def test_s3_s4_after_kills_the_ledger_is_that_of_an_unbroken_run(tmp_path: Path) -> None:
    """In full killed after every step of an epoch, each time resumed by other workers."""
    store = make_store(tmp_path / "s.zarr", mri=6, ct=5, shape=(8, 32, 24))
    every = range(1, LEDGER_STEPS + 1)
    chains = [(every, first) for first in range(5)] if FULL else [((3, LEDGER_STEPS), 2)]
    run_and_kill(store, tmp_path / "unbroken", 1, LEDGER_STEPS)
    expected = (tmp_path / "unbroken").read_text()
    assert len(expected.splitlines()) == LEDGER_STEPS

    for stops, first in chains:
        ledger = tmp_path / f"killed{first}"
        for turn, stop in enumerate(stops):
            run_and_kill(store, ledger, (1, 2, 3, 4, 8)[(first + turn) % 5], stop)

        assert ledger.read_text() == expected


@pytest.mark.parametrize("shards", [3, 5])
def test_s5_all_workers_have_as_many_steps_where_nothing_divides(store: Store, shards: int) -> None:
    config = Config(data=CONFIG.data, batch=BatchConfig(shards=shards, shard_size=2))
    steps = steps_per_epoch(store, config) + 2  # and no stream ends before another

    for rank in range(2):
        share = config.batch.shards_of(rank, 2)
        with closing(opened(store, config, shards=share)) as one:
            sizes = [len(batch.mri) for batch in islice(one, steps)]
        assert sizes == [2 * len(share)] * steps


@pytest.mark.parametrize(("mri", "ct"), [(1, 5), (5, 1), (1, 1)])
def test_s6_domains_may_differ_in_size_and_have_fewer_volumes_than_workers(
    tmp_path: Path, mri: int, ct: int
) -> None:
    store = make_store(tmp_path / "s.zarr", mri=mri, ct=ct, shape=(3, 32, 24))
    config = Config(data=CONFIG.data, batch=BatchConfig(shards=8))

    assert steps_per_epoch(store, config) == -(-3 * max(mri, ct) // 8)
    for rank in range(8):
        with closing(opened(store, config, shards=config.batch.shards_of(rank, 8))) as one:
            assert len(list(islice(one, 3))) == 3


def test_s6_a_domain_without_volumes_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=2, ct=0, shape=(3, 32, 24))

    with pytest.raises(DataError, match="no CT slice in the train split"):
        opened(store)


def test_s7_too_few_open_files_are_noticed_at_the_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_limits.resource, "getrlimit", lambda which: (64, 128))

    with pytest.raises(UserError, match="128 open files; a worker needs up to 4096"):
        opened(store)


def test_s7_a_stream_leaves_nothing_in_shared_memory(store: Store) -> None:
    shared = Path("/dev/shm")
    before = {path.name for path in shared.iterdir()} if shared.is_dir() else set()

    with closing(opened(store)) as batches:
        next(batches)
        during = {path.name for path in shared.iterdir()} if shared.is_dir() else set()

    assert not {name for name in during - before if str(os.getpid()) in name}


def test_s8_slices_of_one_grey_are_not_in_the_order(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    make_store(path, mri=2, ct=2, shape=(6, 32, 24), flat=(0, 3))

    with closing(opened(open_store(path))) as batches:
        for batch in islice(batches, 6):
            assert (batch.mri.flatten(1).std(dim=1) > 0.01).all()
            assert (batch.ct.flatten(1).std(dim=1) > 0.01).all()
