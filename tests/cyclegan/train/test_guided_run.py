"""A run whose generators are guided fits the table first, and its score without a step counts."""

import json
from dataclasses import replace

import pytest
import torch

from cyclegan.atlas.scans import train_scans
from cyclegan.config.config import BatchConfig, Config
from cyclegan.config.files import to_yaml
from cyclegan.contrast.fit import table_of_scans
from cyclegan.contrast.table_file import TABLE_FILE, read_table, table_bytes
from cyclegan.errors import ConfigError, TableError
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.evaluate.results import write_results
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.export.model_folder import read_model
from cyclegan.inference.cycle import CycleNetworks
from cyclegan.nets.generator import Generator
from cyclegan.nets.guided_generator import GuidedGenerator
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.initial_weights import initial_weights, load_initial_weights
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import build_state
from cyclegan.train.find_rate import find_rate
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from mrct.errors import ExitCode
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise
from tests.cyclegan.train.checkpoint.test_checkpoint import digest
from tests.cyclegan.train.engine.test_deterministic import THREE_RUNS
from tests.support.gloo import run_workers


def guided(config: Config, guide: str = "table", **train: object) -> Config:
    return replace(
        config,
        data=replace(config.data, conditions=True, mri_contrast="inverted"),
        generator=replace(config.generator, guide=guide),
        train=replace(config.train, **train),
    )


@pytest.fixture
def config(config: Config) -> Config:
    return guided(config)


def test_the_first_checkpoint_is_the_table_and_has_a_score(config, store):
    config = guided(config, max_steps=1)
    state = train_worker(config, Worker())

    folder = config.run_folder
    kept = read_table(folder / TABLE_FILE)
    assert state.contrast_table == kept.sha256
    first = checkpoint.folder_of(folder, 0)
    assert json.loads((first / "state.json").read_text())["contrast_table"] == kept.sha256
    assert checkpoint.score_of(first) < float("inf")
    scored = [line["step"] for line in read_lines(folder / METRICS) if "val/selection" in line]
    assert scored == [0, 1]
    to_ct, to_mri = checkpoint.load_generators(first, config)
    (mri,) = store.select("mri", "val")
    networks = CycleNetworks.trained((to_ct, to_mri), config.data)
    body = store.body(mri).astype(bool)
    _, found = networks.translated(store.voxels(mri), store.body(mri), mri)
    hu = normalise(kept.table.expected_hu(by_value=True), WINDOW_HU)
    torch.testing.assert_close(to_ct.guide.guess.flatten(), torch.from_numpy(hu).flatten())
    assert kept.table.bin_hu.min() - 1 <= found[body].min()
    assert found[body].std() > 100


def test_a_guided_run_that_was_stopped_ends_with_the_same_bits(config, tmp_path):
    whole = replace(config, run=replace(config.run, name="whole"))
    expected = train_worker(whole, Worker())
    paused = replace(config, schedule=replace(config.schedule, pause_at_step=3))

    train_worker(paused, Worker())
    resumed = train_worker(config, Worker())

    assert digest(resumed) == digest(expected)
    (config.run_folder / TABLE_FILE).remove()  # the same fit gives the same table
    train_worker(config, Worker())
    (config.run_folder / TABLE_FILE).put(b"cut")
    with pytest.raises(TableError, match="damaged"):
        train_worker(config, Worker())


@pytest.mark.slow  # four processes
def test_one_two_and_four_workers_are_guided_alike(config, tmp_path):
    config = replace(config, batch=BatchConfig(shards=4, shard_size=1))
    config = guided(config, deterministic=True, max_steps=2, pool_size=2)
    path = tmp_path / "guided.yaml"
    path.write_text(to_yaml(config))

    run_workers(THREE_RUNS, path, 4)

    one, two, four = (
        json.loads(
            (
                checkpoint.folder_of(config.run_folder.parent / f"of-{n}", 2)
                / checkpoint.FILE_HASHES
            ).read_text()
        )
        for n in (1, 2, 4)
    )
    assert one == two == four


@pytest.mark.slow  # tracing for three formats
def test_a_guided_run_is_evaluated_and_exported_with_its_look_up(config, tmp_path):
    train_worker(guided(config, max_steps=1), Worker())
    folder, out = config.run_folder, tmp_path / "out"

    write_results(EvaluateCommand(run=folder, split="val", out=out, pictures=1))
    assert export(ExportCommand(run_folder=folder)) == ExitCode.DONE

    paired = json.loads((out / "scores.json").read_text())["paired"]
    assert paired["CycleGAN"]["mae_hu"]["mean"] < paired["atlas, mean"]["mae_hu"]["mean"]
    model = read_model(folder / "model_to_ct")
    assert model.info.generator.guide == "table"
    assert max(model.info.parity.values()) < 1
    assert isinstance(model.network, GuidedGenerator)


def test_a_table_of_a_start_that_ended_before_other_volumes_came_is_fitted_again(config, store):
    config.run_folder.make_folder()
    path = config.run_folder / TABLE_FILE
    table = table_of_scans(train_scans(store, "mri"), train_scans(store, "ct"))
    path.put(table_bytes(table, store_fingerprint=store.fingerprint, store_contents="earlier"))

    train_worker(guided(config, max_steps=1), Worker())

    assert read_table(path).store_contents == store.contents


def test_a_run_that_has_begun_keeps_its_table_where_its_record_is_lost(config, store):
    config = guided(config, max_steps=1)
    train_worker(config, Worker())
    path = config.run_folder / TABLE_FILE
    earlier = table_bytes(
        read_table(path).table, store_fingerprint=store.fingerprint, store_contents="earlier"
    )
    path.put(earlier)
    (config.run_folder / "environment.json").remove()

    with pytest.raises(TableError, match=r"index earlier.*Restore environment\.json"):
        train_worker(config, Worker())

    assert path.read_bytes() == earlier


def test_a_stop_while_the_look_up_is_scored_only_delays_its_score(config):
    config = guided(config, max_steps=2)
    train_worker(config, Worker(), stop_requested=lambda: True)
    assert not [line for line in read_lines(config.run_folder / METRICS) if "val/mae_hu" in line]

    train_worker(config, Worker())

    lines = read_lines(config.run_folder / METRICS)
    assert {line["step"] for line in lines if "val/selection" in line} >= {0, 2}


def test_first_weights_bring_their_look_up_with_them(config, store, tmp_path):
    donor = train_worker(guided(config, max_steps=1), Worker())
    tuned = guided(config, init=str(config.run_folder), init_warmup_steps=1)
    tuned = replace(tuned, run=replace(tuned.run, name="tuned"))
    state = build_state(tuned, size=(32, 32), shards=range(2), device=torch.device("cpu"))

    weights = initial_weights(tuned, store, 6)
    load_initial_weights(state, weights)

    own, theirs = state.generators.to_ct, donor.mean.to_ct
    assert isinstance(own, GuidedGenerator)
    assert torch.equal(own.guide.guess, theirs.guide.guess)
    assert torch.equal(own.branch[1].weight, theirs.branch[1].weight)
    assert "to_ct looks up the table of the source" in "\n".join(weights.notes)
    plain = replace(tuned, generator=replace(tuned.generator, guide="none"))
    with pytest.raises(ConfigError, match=r"generator\.guide: table -> none"):
        initial_weights(plain, store, 6)


def test_the_rate_is_searched_with_the_guide(config, store, monkeypatch):
    monkeypatch.setattr("cyclegan.train.find_rate.NUM_RATES", 2)
    seen = []
    monkeypatch.setattr(
        "cyclegan.train.find_rate.guide_generators", lambda *given: seen.append(given[2])
    )

    find_rate(config, store)

    assert len(seen) == 1
    assert not (config.run_folder / TABLE_FILE).exists()


def test_only_mri_to_ct_is_guided(config):
    state = build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))

    assert isinstance(state.generators.to_ct, GuidedGenerator)
    assert type(state.generators.to_mri) is Generator


def test_a_guide_needs_conditions(config):
    with pytest.raises(ConfigError, match=r"generator\.guide is 'table'.*--data\.conditions"):
        replace(config, data=replace(config.data, conditions=False))
