"""A run that starts from given weights begins with exactly their output, and says what is new."""

import shutil
from dataclasses import replace

import pytest
import torch

from cyclegan.config.config import Config, GeneratorConfig
from cyclegan.config.files import config_hash, load_config, resolve, to_yaml
from cyclegan.config.pinned_path import split_pin
from cyclegan.errors import CheckpointError, ConfigError, ModelError
from cyclegan.export.export import model_info
from cyclegan.export.model_card import model_card
from cyclegan.nets.generator import Generator
from cyclegan.nets.network_pairs import Generators
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.initial_weights import (
    fit_generator,
    initial_weights,
    load_initial_weights,
)
from cyclegan.train.checkpoint.resume import check_resume
from cyclegan.train.checkpoint.weight_source import GeneratorWeights, pin_source
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from data_prep.store.subject_record import read_subjects, write_subjects
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import storage_path
from tests.cyclegan.train.checkpoint.test_checkpoint import digest
from tests.support.gloo import run_workers
from tests.support.models import publish_model

STEPS = 6


def starting_from(config: Config, source: object, **train: object) -> Config:
    """The settings of a new run that takes its first weights from `source`."""
    named = replace(config, run=replace(config.run, name="tuned"))
    return resolve(
        pin_source(replace(named, train=replace(named.train, init=str(source), **train)))
    )


def new_state(config: Config) -> TrainState:
    return build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))


def first_state(config: Config, store) -> TrainState:
    state = new_state(config)
    load_initial_weights(state, initial_weights(config, store, STEPS))
    return state


def weights_of(generators: Generators) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in generators.state_dict().items()}


def assert_equal(found: Generators, expected: Generators) -> None:
    torch.testing.assert_close(weights_of(found), weights_of(expected), rtol=0, atol=0)


@pytest.fixture
def model(finished, store, tmp_path) -> LocalPath:
    """The mean generator MRI -> CT of the finished run as a model folder."""
    folder = LocalPath(tmp_path / "model_to_ct")
    intensity = replace(model_info(finished.config, "to_ct", store, "").intensity)
    publish_model(folder, finished.state.mean.to_ct, store.preprocessing, intensity=intensity)
    return folder


def test_a_run_starts_from_the_mean_weights_and_the_discriminators_of_another(
    finished, config, store
):
    run = finished.config.run_folder
    best = checkpoint.best_checkpoint(run)
    to_ct, to_mri = checkpoint.load_generators(best, finished.config)
    for source in (run, best):
        state = first_state(starting_from(config, source), store)

        for own in (state.generators, state.mean):
            assert_equal(own.to_ct, to_ct)
            assert_equal(own.to_mri, to_mri)
        assert_equal(state.discriminators, judges(finished.config, best))
        assert (state.step, state.warmup_steps) == (0, 0)
        assert not state.generator_optimizer.state
        assert not state.discriminator_optimizer.state


def judges(config: Config, folder) -> torch.nn.Module:
    state = new_state(config)
    checkpoint.restore_checkpoint(state, folder)
    return state.discriminators


def test_inputs_that_the_source_does_not_have_change_nothing_at_first(finished, config, store):
    data = replace(config.data, neighbours=1, conditions=True)
    wide = starting_from(
        replace(config, data=data), finished.config.run_folder, init_warmup_steps=2
    )
    weights = initial_weights(wide, store, STEPS)
    state = new_state(wide)
    load_initial_weights(state, weights)
    to_ct, _ = checkpoint.load_generators(
        checkpoint.best_checkpoint(finished.config.run_folder), finished.config
    )

    image = torch.rand(2, 5, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(
            state.generators.to_ct(image), to_ct(image[:, 2:3]), rtol=0, atol=1e-5
        )
    assert state.warmup_steps == 2
    said = "\n".join(weights.notes)
    assert (
        "to_ct layers.1.weight: 1 of 5 input channels are those of the source; the other 4" in said
    )
    assert "to_mri layers.1.weight: 1 of 5" in said
    assert "discriminators start from random weights, because the source has others" in said


def test_neighbours_and_conditions_keep_their_places_among_more_neighbours(config):
    torch.manual_seed(0)
    settings = GeneratorConfig(filters=4, blocks=1)
    theirs = Generator(in_channels=5, filters=4, blocks=1, upsample=settings.upsample)
    ours = Generator(in_channels=7, filters=4, blocks=1, upsample=settings.upsample)
    data = replace(config.data, neighbours=2, conditions=True)
    weights = GeneratorWeights(
        tensors=theirs.state_dict(), settings=settings, neighbours=1, conditions=True
    )

    ours.load_state_dict(fit_generator(weights, ours.state_dict(), replace(config, data=data)))

    image = torch.rand(1, 7, 32, 32)
    known = image[:, [0, 2, 3, 4, 6]]
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(known), rtol=0, atol=1e-5)


def test_only_new_discriminators_learn_at_first_and_a_stop_changes_nothing(
    model, config, store, monkeypatch
):
    tuned = starting_from(config, model, init_warmup_steps=3)
    first = first_state(tuned, store)
    step, at = loop.train_step, {}

    def watched(state, *arguments):
        terms = step(state, *arguments)
        at[state.step] = weights_of(state.generators), weights_of(state.mean), digest(state)
        return terms

    monkeypatch.setattr(loop, "train_step", watched)
    train_worker(tuned, Worker())
    unbroken = dict(at)

    for number in range(1, 4):
        for weights in unbroken[number][:2]:
            torch.testing.assert_close(weights, weights_of(first.generators), rtol=0, atol=0)
    assert len({found[2] for found in unbroken.values()}) == STEPS
    assert not torch.equal(
        unbroken[4][0]["to_ct.layers.1.weight"], first.generators.to_ct.layers[1].weight
    )

    shutil.rmtree(tuned.run_folder)
    train_worker(replace(tuned, schedule=replace(tuned.schedule, pause_at_step=2)), Worker())
    shutil.rmtree(model)  # a run that resumes does not need its source

    assert digest(train_worker(tuned, Worker())) == unbroken[STEPS][2]


def test_the_run_its_model_and_its_card_state_the_source(finished, config, store, tmp_path):
    donor = LocalPath(tmp_path / "small")
    shutil.copytree(finished.config.run_folder, donor)
    write_subjects(donor, read_subjects(donor), {"train": ["of the source"], "val": []})
    tuned = starting_from(config, donor)
    train_worker(replace(tuned, schedule=replace(tuned.schedule, pause_at_step=1)), Worker())

    best = checkpoint.best_checkpoint(donor)
    recorded = load_config(tuned.run_folder / "config.yaml").train.init
    assert split_pin(recorded) == (str(donor), (best / checkpoint.FILE_HASHES).sha256())
    said = [line["note"] for line in read_lines(tuned.run_folder / METRICS) if "note" in line]
    assert any("train.init: to_ct starts from all 16 weights and biases" in note for note in said)
    assert "of the source" in read_subjects(tuned.run_folder)["train"]
    info = model_info(tuned, "to_ct", store, "step_00000001")
    assert info.initial_weights == f"small@sha256:{split_pin(recorded)[1]}"
    digest = split_pin(recorded)[1][:16]
    assert f"from the weights of `small` (SHA-256 `{digest}`)" in model_card(info)
    assert "from random weights" in model_card(replace(info, initial_weights=""))


def test_the_identity_of_a_run_is_the_hash_of_its_source_wherever_that_lies(
    finished, config, tmp_path
):
    moved = LocalPath(tmp_path / "moved")
    shutil.copytree(finished.config.run_folder, moved)

    here = starting_from(config, finished.config.run_folder)
    there = starting_from(config, moved)
    newest = starting_from(config, checkpoint.saved_checkpoints(moved)[0])

    assert config_hash(here) == config_hash(there) != config_hash(config)
    assert config_hash(newest) != config_hash(here)
    warmer = replace(config, train=replace(config.train, init_warmup_steps=7))
    assert config_hash(warmer) == config_hash(config)


def test_a_run_that_has_begun_keeps_the_hash_of_a_source_that_is_gone(
    finished, config, store, tmp_path
):
    source = LocalPath(tmp_path / "source")
    shutil.copytree(finished.config.run_folder, source)
    tuned = starting_from(config, source)
    train_worker(replace(tuned, schedule=replace(tuned.schedule, pause_at_step=1)), Worker())
    shutil.rmtree(source)

    assert starting_from(config, source).train.init == tuned.train.init
    other = starting_from(config, finished.config.run_folder / "checkpoints/step_00000003")
    refusal(other, store, r"other settings.*\n  train\.init: ")


def refusal(config: Config, store, match: str, error: type[Exception] = ConfigError) -> None:
    with pytest.raises(error, match=match):
        check_resume(config, store, STEPS, "auto")


def test_generators_that_do_not_fit_are_refused_with_the_flags_that_do(finished, config, store):
    wider = replace(config, generator=replace(config.generator, filters=8, upsample="transposed"))
    source = finished.config.run_folder
    refusal(
        starting_from(wider, source),
        store,
        r"filters: 4 -> 8\n.*upsample.*\n.*--generator\.filters 4 --generator\.upsample resize$",
    )
    turned = replace(config, data=replace(config.data, mri_contrast="inverted"))
    if config.data.mri_contrast == "inverted":
        turned = replace(config, data=replace(config.data, mri_contrast="plain"))
    refusal(starting_from(turned, source), store, r"--data\.mri-contrast")


def test_inputs_that_the_run_does_not_have_are_refused(config, store, tmp_path):
    folder = publish_model(
        tmp_path / "deep",
        Generator(in_channels=5, filters=4, blocks=1, upsample="resize"),
        store.preprocessing,
        neighbours=1,
        conditions=True,
        inputs=("depth below the surface", "mri, slice -1", "mri", "mri, slice +1", "height"),
        intensity=replace(model_info(config, "to_ct", store, "").intensity),
    )
    refusal(
        starting_from(config, folder, init_warmup_steps=1),
        store,
        r"--data\.neighbours 1 --data\.conditions$",
    )


def test_what_is_damaged_changed_absent_or_pointless_is_refused(
    finished, model, config, store, tmp_path
):
    refusal(starting_from(config, model), store, r"init_warmup_steps is 200.*6 steps.*never learn")
    tuned = starting_from(config, model, init_warmup_steps=1)
    with pytest.raises(ConfigError, match=r"--resume .* train\.init"):
        check_resume(tuned, store, STEPS, finished.config.run_folder)
    (model / "SHA256SUMS").write_bytes(b"changed")
    refusal(tuned, store, r"what lies there now")
    refusal(starting_from(config, model, init_warmup_steps=1), store, "damaged", ModelError)
    with pytest.raises(ConfigError, match=r"nowhere, where there are no weights \(No such file"):
        starting_from(config, tmp_path / "nowhere")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.yaml").touch()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        starting_from(config, tmp_path / "begun")
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        starting_from(config, f"{model}@sha256:12")


def test_weights_of_another_shape_or_value_are_refused(config):
    own = Generator(filters=4, blocks=1, upsample="resize").state_dict()
    settings = GeneratorConfig(filters=4, blocks=1)
    for name, value, found in (
        ("layers.4.weight", torch.zeros(8, 4, 5, 5), r"4\.weight is \(8, 4, 5, 5\) instead of"),
        ("layers.99.weight", torch.zeros(1), r"layers\.99\.weight is \(1,\) instead of absent"),
        ("layers.4.bias", torch.full((8,), torch.nan), r"are not finite\): layers\.4\.bias"),
    ):
        weights = GeneratorWeights(tensors=own | {name: value}, settings=settings)
        with pytest.raises(ConfigError, match=found):
            fit_generator(weights, own, config)


def test_a_source_under_a_url_is_read_as_a_local_one(finished, model, config, store):
    memory = storage_path("memory://initial-weights")
    for name, source in (("runs/a", finished.config.run_folder), ("model", model)):
        for file in source.sizes():
            (memory / f"{name}/{file}").put((source / file).read_bytes())

        here, there = (
            initial_weights(starting_from(config, path, init_warmup_steps=1), store, STEPS)
            for path in (source, memory / name)
        )

        torch.testing.assert_close(dict(there.generators), dict(here.generators), rtol=0, atol=0)
        assert there.notes == here.notes


@pytest.mark.slow
def test_two_workers_start_and_warm_up_as_one_does(model, config, tmp_path):
    tuned = starting_from(config, model, init_warmup_steps=2, deterministic=True)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(replace(tuned, run=replace(tuned.run, name="of-two"))))
    body = """
train_worker(config, meet(2))
"""
    run_workers(body, path, 2)
    train_worker(tuned, Worker())

    manifests = [
        (checkpoint.folder_of(tuned.run_folder.with_name(name), STEPS) / checkpoint.FILE_HASHES)
        for name in ("of-two", "tuned")
    ]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
