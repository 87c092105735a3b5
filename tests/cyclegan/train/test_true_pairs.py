"""Runs on true pairs: written once, of the train split alone, and learned from to the bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.config.config import Config, LossConfig
from cyclegan.config.loss import Term
from cyclegan.data.companion_source import PAIRED_KEY, companions_of
from cyclegan.errors import ConfigError, DataError
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.true_pairs import COMPANIONS_RECORD, require_same_companions, write_pairs
from data_prep.store.companions.cache import open_companions
from data_prep.store.store import Store
from mrct.storage.local_path import LocalPath
from tests.cyclegan.train.conftest import small
from tests.support.stores import make_store

LOSS = LossConfig(paired=Term(weight=10.0), draw_noise=0.8, draw_gradient=False)
ONLY_PAIRED = LossConfig().mapped(lambda term: replace(term, enabled=False))


@pytest.fixture(scope="module")
def paired_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Unpaired scans and two true pairs to train on."""
    path = tmp_path_factory.mktemp("pairs") / "s.zarr"
    return make_store(
        path, mri=2, ct=3, paired=2, splits=("val", "val", "train"), shape=(4, 32, 32)
    )


def on_pairs(store: Store, folder: Path, loss: LossConfig = LOSS, steps: int = 4) -> Config:
    config = small(store, folder)
    return replace(
        config,
        data=replace(config.data, use_pairs=True, min_body_fraction=0),
        loss=loss,
        train=replace(config.train, max_steps=steps),
        schedule=replace(config.schedule, log_every="1 steps", save_every="2 steps"),
    )


def weights_of(config: Config) -> torch.Tensor:
    state = train_worker(config, Worker())
    return torch.cat([p.detach().flatten() for p in state.generators.parameters()])


def test_pairs_of_the_train_split_become_companions_and_no_others(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, paired=2, shape=(4, 16, 16))
    other = make_store(tmp_path / "t.zarr", mri=1, ct=1, paired=2, splits=("train", "test"))

    write_pairs(store, 0.9, pytest.fail)
    write_pairs(other, 0.9, pytest.fail)

    written = open_companions(store.path, PAIRED_KEY).by_mri
    assert set(written) == {v.name for v in store.select("mri", "train") if v.link}
    assert not open_companions(other.path, PAIRED_KEY).by_mri
    for name, companion in written.items():
        mri = store.volumes.named(name)
        assert mri is not None
        ct = store.partner(mri)
        assert ct is not None
        hu, weight = companion.voxels
        np.testing.assert_array_equal(hu[0], store.voxels(ct))
        np.testing.assert_array_equal(weight[0] > 0, store.body(mri) > 0)


def test_a_pair_is_written_once_and_told_if_it_does_not_overlap(paired_store: Store) -> None:
    lines: list[str] = []
    write_pairs(paired_store, 1.01, lines.append)
    before = open_companions(paired_store.path, PAIRED_KEY)
    changed = [each.folder.sizes() for each in before.by_mri.values()]

    write_pairs(paired_store, 0.9, pytest.fail)

    assert len(lines) == 2
    assert all("do not teach as a pair" in line for line in lines)
    assert [each.folder.sizes() for each in before.by_mri.values()] == changed
    assert open_companions(paired_store.path, PAIRED_KEY).hash == before.hash


def test_a_resumed_run_learns_to_the_bit_what_the_unbroken_one_does(
    paired_store: Store, tmp_path: Path
) -> None:
    whole = on_pairs(paired_store, tmp_path / "whole")
    parts = on_pairs(paired_store, tmp_path / "parts")
    pausing = replace(parts, schedule=replace(parts.schedule, pause_at_step=2))

    train_worker(pausing, Worker())

    assert torch.equal(weights_of(parts), weights_of(whole))
    names = {name for line in read_lines(whole.run_folder / METRICS) for name in line}
    assert {"loss/paired_mri", "loss/paired_ct"} <= names


def test_a_run_whose_companions_changed_is_refused(paired_store: Store, tmp_path: Path) -> None:
    config = on_pairs(paired_store, tmp_path, steps=2)
    train_worker(config, Worker())
    (config.run_folder / COMPANIONS_RECORD).put(b'{"companions": "0"}')

    with pytest.raises(ConfigError, match="began with other companions"):
        train_worker(replace(config, train=replace(config.train, max_steps=4)), Worker())


def test_a_damaged_record_of_the_companions_is_named(tmp_path: Path) -> None:
    run = LocalPath(tmp_path)
    require_same_companions(run, {})
    (run / COMPANIONS_RECORD).write_text("{")

    with pytest.raises(ConfigError, match=f"{COMPANIONS_RECORD} is damaged .*--run.name NAME"):
        require_same_companions(run, {})


def test_without_a_pair_in_the_train_split_a_run_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No MRI of the train split"):
        train_worker(on_pairs(store, tmp_path), Worker())
    assert not companions_of(store, on_pairs(store, tmp_path).data)


def test_pairs_and_their_term_go_together() -> None:
    with pytest.raises(ConfigError, match=r"Set both.*--data\.use-pairs --loss\.paired"):
        Config(loss=LossConfig(paired=Term()))
    with pytest.raises(ConfigError, match=r"loss\.anchor is on"):
        Config(loss=LossConfig(anchor=Term()))


def test_pairs_teach(paired_store: Store, tmp_path: Path) -> None:
    """The paired error alone, over some steps of training."""
    config = on_pairs(paired_store, tmp_path, replace(ONLY_PAIRED, paired=Term(weight=10.0)), 60)
    config = replace(
        config,
        data=replace(config.data, paired_share=1.0),
        optimizer=replace(config.optimizer, learning_rate=2e-3),
        schedule=replace(config.schedule, save_every="60 steps", validate_every="60 steps"),
    )

    train_worker(config, Worker())

    errors = [
        x["loss/paired_ct"]
        for x in read_lines(config.run_folder / METRICS)
        if "loss/paired_ct" in x
    ]
    assert len(errors) == 60
    assert np.mean(errors[-10:]) < 0.65 * np.mean(errors[:5])
