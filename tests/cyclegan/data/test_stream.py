"""The stream of batches: endless, the same whoever runs it, and honest about damage."""

import threading
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.config.config import BatchConfig, Config, DataConfig, RunConfig
from cyclegan.data.batch import Batch
from cyclegan.data.slice_source import RecordSubstitution, Substitution
from cyclegan.data.stream import open_stream, steps_per_epoch
from cyclegan.errors import DataError
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.imaging.intensity import normalise
from tests.support.stores import make_store

CONFIG = Config(
    data=DataConfig(min_body_fraction=0, mri_contrast="inverted"),
    batch=BatchConfig(shards=2, shard_size=3),
)
ALL_INTENSITIES = replace(
    CONFIG.data,
    gamma=(0.8, 1.25),
    bias_field=0.1,
    blur_mm=1.0,
    noise=0.05,
    noise_kind="rician",
    intensity_share=0.5,
)
STILL = DataConfig(
    min_body_fraction=0,
    flip=False,
    rotate_degrees=0,
    zoom=(1, 1),
    translate_fraction=0,
    contrast=0,
)
NAMES = ("mri", "ct", "mri_body", "ct_body")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """14 MRI slices and 7 CT slices to train on, 7 and 7 for validation."""
    path = tmp_path_factory.mktemp("stream") / "s.zarr"
    return make_store(path, mri=3, ct=2, splits=("train", "val"), shape=(7, 32, 24))


def batches(
    store: Store,
    num_steps: int,
    config: Config = CONFIG,
    *,
    shards: range | None = None,
    start_step: int = 0,
    split: Split = "train",
    record: RecordSubstitution = pytest.fail,
) -> list[Batch]:
    shards = shards or range(config.batch.shards)
    stream = open_stream(
        store,
        config,
        split,
        shards=shards,
        start_step=start_step,
        device=torch.device("cpu"),
        record=record,
    )
    with closing(stream):
        return list(islice(stream, num_steps))


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for name in NAMES:
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_batches_are_what_the_networks_expect(store: Store) -> None:
    for batch in batches(store, 3):
        for name in NAMES:
            tensor = getattr(batch, name)
            assert tensor.shape == (6, 1, 32, 24)
            assert tensor.dtype == torch.float32
            assert tensor.isfinite().all()
        assert batch.mri.min() == -1
        assert batch.mri.max() <= 0.5  # inverted
        assert -1 <= batch.ct.min() < batch.ct.max() <= 1
        assert (batch.mri[batch.mri_body == 0] == -1).all()


def test_a_stream_resumed_at_any_step_of_an_epoch_goes_on_as_the_unbroken_one(
    store: Store,
) -> None:
    config = replace(CONFIG, data=replace(ALL_INTENSITIES, neighbours=1))
    steps = steps_per_epoch(store, config) + 1  # across the end of the epoch
    unbroken = batches(store, steps + 1, config)

    for step in range(steps):
        resumed = batches(store, steps + 1 - step, config, start_step=step)
        assert_equal(resumed, unbroken[step:])


@pytest.mark.parametrize("num_workers", [2, 3, 4, 8])
def test_workers_share_a_step_without_changing_a_bit_of_it(store: Store, num_workers: int) -> None:
    config = replace(CONFIG, data=ALL_INTENSITIES, batch=BatchConfig(shards=8, shard_size=1))
    whole = batches(store, 2, config)

    shares = [
        batches(store, 2, config, shards=config.batch.shards_of(rank, num_workers))
        for rank in range(num_workers)
    ]

    for step, batch in enumerate(whole):
        for name in NAMES:
            parts = [getattr(share[step], name) for share in shares]
            assert torch.equal(torch.cat(parts), getattr(batch, name))


def test_neighbours_are_the_slices_below_and_above(store: Store) -> None:
    data = replace(STILL, neighbours=1)
    config = replace(CONFIG, data=data, batch=BatchConfig(shards=7, shard_size=1))

    shown = torch.cat([batch.mri for batch in batches(store, 2, config)]).numpy()  # [14, 3, H, W]

    expected = []
    for volume in store.select("mri", "train"):
        images = normalise(store.voxels(volume).astype(np.float32), volume.window)
        padded = np.pad(images, [(1, 1), (0, 0), (0, 0)], mode="edge")
        expected += [padded[z : z + 3] for z in range(len(images))]
    distance = np.abs(shown[:, None] - np.stack(expected)).max(axis=(2, 3, 4))
    assert ((distance < 1e-6).sum(axis=0) == 1).all()


def test_conditions_are_the_depth_in_the_warped_mask_and_the_height_of_the_slice(
    store: Store,
) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, conditions=True, neighbours=1))
    heights = {h for v in store.select("ct", "train") for h in v.height}

    plain = batches(store, 3, replace(CONFIG, data=replace(CONFIG.data, neighbours=1)))
    for batch, expected in zip(batches(store, 3, config), plain, strict=True):
        assert torch.equal(batch.ct[:, 1:4], expected.ct)
        assert torch.equal(batch.middle_ct, expected.middle_ct)
        assert torch.equal(batch.ct[:, :1] > -1, batch.ct_body > 0)
        level = batch.ct[:, 4].flatten(1)
        assert (level == level[:, :1]).all()
        assert all(min(abs((x + 1) / 2 - h) for h in heights) < 1e-6 for x in level[:, 0].tolist())


def test_the_seed_decides(store: Store) -> None:
    other = replace(CONFIG, run=RunConfig(seed=1))

    assert_equal(batches(store, 2), batches(store, 2))
    assert not torch.equal(batches(store, 1)[0].mri, batches(store, 1, other)[0].mri)


def test_an_epoch_shows_every_train_slice_and_no_other(store: Store) -> None:
    config = replace(CONFIG, data=STILL, batch=BatchConfig(shards=7, shard_size=1))

    shown = torch.cat([batch.mri for batch in batches(store, 2, config)]).numpy()[:, 0]

    assert steps_per_epoch(store, config) == 2
    stored = np.concatenate(
        [
            normalise(store.voxels(volume).astype(np.float32), volume.window)
            for volume in store.select("mri", "train")
        ]
    )
    distance = np.abs(shown[:, None] - stored).max(axis=(2, 3))  # [14 shown, 14 stored]
    assert ((distance < 1e-6).sum(axis=0) == 1).all()
    assert ((distance < 1e-6).sum(axis=1) == 1).all()


def test_validation_slices_are_not_varied(store: Store) -> None:
    data = replace(ALL_INTENSITIES, mri_contrast="plain")

    varied = batches(store, 2, replace(CONFIG, data=data), split="val")
    still = batches(store, 2, replace(CONFIG, data=STILL), split="val")

    assert_equal(varied, still)


def test_an_empty_domain_is_refused_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=1, ct=0, shape=(3, 16, 16))

    with pytest.raises(DataError, match="no CT slice in the train split"):
        batches(store, 0)


def test_a_flat_slice_is_never_shown(tmp_path: Path) -> None:
    """S8: InstanceNorm would blow up what little there is in it."""
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, shape=(6, 32, 32), flat=(2,))
    data = replace(STILL, min_deviation=0.01)

    shown = batches(store, 12, Config(data=data))

    assert steps_per_epoch(store, Config(data=data)) == 5
    assert all(batch.ct.std() > 0.01 and batch.mri.std() > 0.01 for batch in shown)


def damaged_store(path: Path) -> tuple[Store, str]:
    """A store whose second MRI has a flipped bit in its first slice."""
    store = make_store(path, mri=2, ct=1, shape=(6, 32, 32))
    name = store.select("mri", "train")[1].name
    shard = store.path / name / "0" / "c" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[300] ^= 1
    shard.write_bytes(data)
    return store, name


def test_a_damaged_chunk_stops_the_stream_at_its_step_and_not_before(tmp_path: Path) -> None:
    store, name = damaged_store(tmp_path / "s.zarr")
    config = Config(data=DataConfig(min_body_fraction=0))  # one slice pair a step, 12 an epoch
    stream = open_stream(
        store, config, "train", shards=range(1), start_step=0, device=torch.device("cpu")
    )

    whole: list[Batch] = []
    with pytest.raises(StoreError, match=f"{name}.*slice 0"):
        whole.extend(stream)

    make_whole = make_store(tmp_path / "again.zarr", mri=2, ct=1, shape=(6, 32, 32))
    assert_equal(whole, batches(make_whole, len(whole), config))
    # A run that goes on says which sample is the first to need the damaged slice.
    records: list[Substitution] = []
    goes_on = replace(config, data=replace(config.data, on_corrupt="substitute", max_corrupt=0.5))
    batches(store, 12, goes_on, record=records.append)
    assert len(whole) == records[0].index < 12


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("stream")]


@pytest.mark.parametrize("num_taken", [0, 1, 5])
def test_closing_the_stream_ends_its_thread(store: Store, num_taken: int) -> None:
    stream = open_stream(
        store, CONFIG, "train", shards=range(2), start_step=0, device=torch.device("cpu")
    )
    list(islice(stream, num_taken))
    assert len(threads()) == (num_taken > 0)

    stream.close()

    assert not threads()


def test_an_error_ends_the_thread_too(tmp_path: Path) -> None:
    store, _ = damaged_store(tmp_path / "s.zarr")

    with pytest.raises(StoreError):
        batches(store, 12, Config(data=DataConfig(min_body_fraction=0)))

    assert not threads()


def test_the_loaders_thread_sets_its_gpu_before_anything_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new thread is at GPU 0, and every worker of a machine would make a context there."""
    calls: list[tuple[str, torch.device, str]] = []

    def record(name: str, device: torch.device) -> None:
        calls.append((name, device, threading.current_thread().name))

    def build(form: object, *, threads: int, device: torch.device) -> None:
        record("build", device)
        raise ZeroDivisionError

    # There may be no second GPU, so both calls are recorded instead of made.
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: record("set_device", device))
    monkeypatch.setattr("cyclegan.data.stream.BatchPipeline", build)
    device = torch.device("cuda", 1)
    stream = open_stream(store, CONFIG, "train", shards=range(2), start_step=4, device=device)

    with pytest.raises(ZeroDivisionError), closing(stream):
        next(stream)

    thread = "stream from step 4"
    assert calls == [("set_device", device, thread), ("build", device, thread)]
