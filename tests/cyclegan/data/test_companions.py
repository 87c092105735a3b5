"""Companions in the stream: each MRI slice with a CT on its grid, moved as the MRI is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.config.config import BatchConfig, Config, DataConfig, LossConfig
from cyclegan.config.loss import Term
from cyclegan.data.augmentation import DrawNoise
from cyclegan.data.companion_source import PAIRED_FROM, companions_of
from cyclegan.data.slice_index import SliceTable
from cyclegan.errors import DataError
from data_prep.store.companions.cache import put_group
from data_prep.store.companions.group import SourceVolume, encode_group, key_of
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise
from tests.cyclegan.data.test_stream import STILL, batches
from tests.support.companions import MADE_FROM, random_group
from tests.support.stores import make_store

PAIRED = LossConfig(paired=Term(weight=10.0))
WARPED = replace(STILL, companions=key_of(MADE_FROM))
PAIRS = replace(STILL, use_pairs=True, min_pair_overlap=0)
MOVED = DataConfig(min_body_fraction=0, contrast=0, companions=WARPED.companions)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two MRIs, the first with three warped CTs, and a true pair, all of the train split."""
    path = tmp_path_factory.mktemp("companions") / "s.zarr"
    store = make_store(path, mri=2, ct=3, paired=1, shape=(6, 32, 24))
    cts = [volume.name for volume in store.select("ct", "train") if volume.link is None]
    assert put_group(store.path, random_group(store, unpaired(store)[0], cts))
    mri = next(v for v in store.select("mri", "train") if v.link)
    pair = random_group(store, mri.name, [mri.link or ""], kind="paired", made_from=PAIRED_FROM)
    assert put_group(store.path, pair)
    return store


def unpaired(store: Store) -> list[str]:
    return [volume.name for volume in store.select("mri", "train") if volume.link is None]


def configured(data: DataConfig, loss: LossConfig | None = None) -> Config:
    batch = BatchConfig(shards=4, shard_size=3)
    return Config(data=data, loss=loss or LossConfig(), batch=batch)


def test_a_slice_is_shown_with_one_of_its_companions_and_how_far_it_is_trusted(
    store: Store,
) -> None:
    companion = companions_of(store, WARPED)[unpaired(store)[0]]
    own = [store.volumes.named(name) for name in unpaired(store)]
    hu, weight = companion.voxels
    chosen = set()

    for batch in batches(store, 2, configured(WARPED)):
        assert batch.companion is not None
        assert batch.trust is not None
        for mri, ct, trust in zip(batch.mri, batch.companion, batch.trust, strict=True):
            number, z = find(store, own, mri[0].numpy())
            assert not trust[0].any()  # no true pair
            if number:
                assert not trust.any()
                assert (ct == -1).all()
                continue
            fits = [
                np.abs(ct[0].numpy() - normalise(hu[k, z].astype(float), WINDOW_HU)).max() < 1e-5
                for k in range(3)
            ]
            (k,) = np.flatnonzero(fits)
            np.testing.assert_allclose(trust[1], weight[k, z] * (3 / 255), rtol=1e-5)
            chosen.add(int(k))

    assert chosen == {0, 1, 2}


def find(store: Store, volumes: list, image: np.ndarray) -> tuple[int, int]:
    """Which slice of which volume an image shows."""
    for number, volume in enumerate(volumes):
        images = normalise(store.voxels(volume).astype(np.float32), volume.window)
        distance = np.abs(images - image).max(axis=(1, 2))
        if distance.min() < 1e-5:
            return number, int(distance.argmin())
    return len(volumes), -1


def test_a_companion_moves_as_its_mri_does(tmp_path: Path) -> None:
    """Of a companion that shows the MRI itself, nothing is left after both were warped."""
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, shape=(6, 32, 24))
    (mri,), (ct,) = store.select("mri", "train"), store.select("ct", "train")
    share = normalise(store.voxels(mri).astype(np.float64), mri.window)
    hu = np.rint((share + 1) / 2 * (WINDOW_HU[1] - WINDOW_HU[0]) + WINDOW_HU[0])
    group = encode_group(
        kind="warped",
        mri=SourceVolume.of(store.path, mri.name),
        cts=[SourceVolume.of(store.path, ct.name)],
        hu=hu.astype(np.int16)[None],
        weight=store.body(mri).astype(np.uint8)[None] * 255,
        quality=[1.0],
        made_from=MADE_FROM,
    )
    assert put_group(store.path, group)

    for batch in batches(store, 2, configured(MOVED)):
        assert batch.companion is not None
        assert batch.trust is not None
        torch.testing.assert_close(batch.companion, batch.mri, atol=2e-3, rtol=0)
        edge = (batch.trust[:, 1:] > 0.01) & (batch.trust[:, 1:] < 0.99)
        assert (batch.trust[:, 1:].round() == batch.mri_body)[~edge].float().mean() > 0.99
        assert not torch.equal(batch.mri, batch.mri.flip(-1))


@pytest.mark.parametrize("num_workers", [2, 3])
def test_order_resumption_and_worker_counts_stay_exact(store: Store, num_workers: int) -> None:
    data = replace(MOVED, use_pairs=True, min_pair_overlap=0)
    config = configured(data, replace(PAIRED, draw_noise=0.5))
    whole = batches(store, 4, config)

    resumed = batches(store, 2, config, start_step=2)
    shares = [
        batches(store, 4, config, shards=config.batch.shards_of(rank, num_workers))
        for rank in range(num_workers)
    ]

    assert {"companion", "trust", "noise"} <= whole[0].tensors.keys()
    for step, batch in enumerate(whole):
        for name, tensor in batch.tensors.items():
            assert torch.equal(torch.cat([share[step].tensors[name] for share in shares]), tensor)
            if step >= 2:
                assert torch.equal(resumed[step - 2].tensors[name], tensor)


def test_a_run_without_companions_has_none_and_the_same_images(store: Store) -> None:
    plain = batches(store, 2, configured(replace(MOVED, companions="")))

    for batch, other in zip(plain, batches(store, 2, configured(MOVED)), strict=True):
        assert batch.companion is batch.trust is batch.noise is None
        for name, tensor in batch.tensors.items():
            assert torch.equal(tensor, other.tensors[name])


def test_the_share_of_paired_slices_is_the_configured_one(store: Store) -> None:
    def share(wanted: float) -> float:
        data = replace(PAIRS, paired_share=wanted)
        shown = [batch.trust for batch in batches(store, 25, configured(data, PAIRED))]
        return float(
            torch.cat([t for t in shown if t is not None])[:, 0]
            .amax((1, 2))
            .gt(0)
            .mean(dtype=torch.float32)
        )

    assert share(1.0) == 1
    # Of 300: half of them, and a third of the rest, which show any MRI.
    assert abs(share(0.5) - (0.5 + 0.5 / 3)) < 0.1


def test_a_pair_of_poor_overlap_is_left_out(store: Store) -> None:
    (quality,) = companions_of(store, PAIRS)[
        next(v.name for v in store.select("mri", "train") if v.link)
    ].quality

    assert not companions_of(store, replace(PAIRS, min_pair_overlap=quality + 0.01))


@pytest.mark.parametrize("outside", ["mri", "ct"])
def test_validation_and_test_scans_never_teach(tmp_path: Path, outside: str) -> None:
    store = make_store(
        tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "test"), shape=(4, 16, 16)
    )
    mri = store.select("mri", "test" if outside == "mri" else "train")[0].name
    ct = store.select("ct", "test" if outside == "ct" else "train")[0].name
    assert put_group(store.path, random_group(store, mri, [ct]))

    if outside == "mri":
        assert not companions_of(store, WARPED)
        return
    with pytest.raises(DataError, match=f"{ct}, which is not in the train split"):
        companions_of(store, WARPED)


def test_a_damaged_companion_stops_the_stream_and_says_what_to_do(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, shape=(4, 32, 24))
    (mri,), (ct,) = store.select("mri", "train"), store.select("ct", "train")
    assert put_group(store.path, random_group(store, mri.name, [ct.name]))
    companion = companions_of(store, WARPED)[mri.name]
    shard = companion.folder / "ct" / "c" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[300] ^= 1
    shard.put(bytes(data))

    with pytest.raises(StoreError, match=r"companions .* cannot be used.*check .* --repair"):
        batches(store, 4, configured(WARPED))


def test_noise_is_white_and_in_patches_and_a_function_of_seed_and_sample() -> None:
    noise = DrawNoise(3, (64, 48)).planes(np.arange(8))

    assert noise.shape == (8, 1, 64, 48)
    assert abs(noise.std() - 2**0.5) < 0.05  # two parts of 1
    patches = noise[:, 0].reshape(8, 16, 4, 12, 4).mean(axis=(2, 4))
    assert abs(patches.std() - (1 + 1 / 16) ** 0.5) < 0.1
    np.testing.assert_array_equal(DrawNoise(3, (64, 48)).planes(np.array([5]))[0], noise[5])
    assert not np.array_equal(DrawNoise(4, (64, 48)).planes(np.array([5]))[0], noise[5])


def test_some_rows_are_those_of_the_chosen_volumes() -> None:
    shown = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1], bool)
    depth, ends = np.array([4, 2, 3]), np.zeros(3)
    table = SliceTable.of_volumes(shown, depth, ends, ends + 1)

    some = table.rows_of(np.array([0, 2]))

    rows = some.rows(np.arange(len(some)))
    expected = [row for row in range(len(table)) if table.places(np.array([row]))[0][0] != 1]
    assert rows.tolist() == expected
