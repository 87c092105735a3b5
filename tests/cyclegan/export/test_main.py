"""A run folder goes in, a model folder with the mean weights of the right direction comes out."""

import json
from dataclasses import replace

import pytest
import torch

from cyclegan.config.config import RunConfig
from cyclegan.config.files import config_hash, resolve, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.errors import CheckpointError, ConfigError, ModelError
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.export.formats import FILES
from cyclegan.export.model_folder import CARD, CONTENT, PICTURE, SUMS, read_model
from cyclegan.export.seen import SeenScans
from cyclegan.train.checkpoint.checkpoint import load_generators, newest_checkpoint, save_checkpoint
from cyclegan.train.checkpoint.run_record import record_environment
from cyclegan.train.checkpoint.select import select_checkpoint
from cyclegan.train.engine.state import build_state
from data_prep.store.subject_record import read_subjects, subjects_of, write_subjects
from mrct.errors import ExitCode


@pytest.fixture
def run(tmp_path, store):
    """The configuration of a run that has saved an untrained state, as a run folder on disk."""
    base = smoke()
    data = replace(base.data, store=str(store.path))
    config = resolve(replace(base, run=RunConfig(storage=str(tmp_path)), data=data))
    config.run_folder.mkdir()
    (config.run_folder / "config.yaml").write_text(to_yaml(config))
    return config


def save_state(config, store):
    device = torch.device("cpu")
    state = build_state(config, size=store.size, shards=range(2), device=device)
    save_checkpoint(state, config.run_folder)


def test_a_checkpoint_is_exported_with_its_scores(run, store, tmp_path, capsys):
    save_state(run, store)
    scores = tmp_path / "scores.json"
    facts = {"run": run.run.name, "checkpoint": "step_00000000", "config": config_hash(run)[:8]}
    measured = {
        "split": "test",
        "num_subjects": 4,
        "paired": {"CycleGAN": {"mae_hu": {"mean": 87}}},
    }
    scores.write_text(json.dumps(facts | measured))
    folder = run.run_folder

    command = ExportCommand(
        run_folder=folder, direction="both", scores=scores, licence="CC-BY-NC-4.0"
    )
    assert export(command) == ExitCode.DONE

    to_ct, to_mri = load_generators(newest_checkpoint(folder), run)
    for direction, network, source in (("to_ct", to_ct, "mri"), ("to_mri", to_mri, "ct")):
        model_folder = folder / "model_both" / direction
        assert sorted(path.name for path in model_folder.iterdir()) == sorted([*CONTENT, SUMS])
        model = read_model(model_folder)
        assert sorted(model.info.parity) == sorted(FILES.values())
        assert max(model.info.parity.values()) < 0.1
        assert model.info.trained_on.volumes == 1
        torch.testing.assert_close(
            dict(model.network.state_dict()), dict(network.state_dict()), rtol=0, atol=0
        )
        assert model.info.inputs == (source,)
        assert model.info.config_hash == config_hash(run)
        assert model.info.store_fingerprint == store.fingerprint
        assert model.info.preprocessing == store.preprocessing
        # The run has no record of its subjects: those of the store that it is known to be of.
        assert read_subjects(model_folder) == subjects_of(store)
        assert model.info.seen == SeenScans(people=2, mri={"unknown": 1}, ct={"unknown": 1})
        assert model.info.training.steps == 0
        assert model.info.licence == "CC-BY-NC-4.0"
        # The store's volumes are no phantoms, and nobody allowed to show people.
        assert not (model_folder / PICTURE).exists()
    card = (folder / "model_both/to_ct" / CARD).read_text()
    assert "| scores | MAE 87 HU (test split, 4 subjects) |" in card
    assert "| licence of the weights | CC-BY-NC-4.0 |" in card
    printed = capsys.readouterr()
    assert "Writing step_00000000 in three formats" in printed.err
    assert printed.out.count("HU (allowed: < 1)") == 3
    assert f"Model: {folder / 'model_both'}" in printed.out


@pytest.mark.slow
def test_one_direction_alone_is_exported_as_it_is_with_both(run, store):
    save_state(run, store)
    folder = run.run_folder
    for each in ("both", "mri-to-ct", "ct-to-mri"):
        assert export(ExportCommand(run_folder=folder, direction=each)) == ExitCode.DONE

    for name in ("to_ct", "to_mri"):
        alone = read_model(folder / f"model_{name}")
        of_both = read_model(folder / "model_both" / name)
        assert alone.info == of_both.info
        torch.testing.assert_close(
            dict(alone.network.state_dict()), dict(of_both.network.state_dict()), rtol=0, atol=0
        )


def test_a_run_without_a_checkpoint_says_how_to_go_on(run):
    with pytest.raises(CheckpointError, match=r"python -m cyclegan\.train --config"):
        export(ExportCommand(run_folder=run.run_folder))


def test_the_best_checkpoint_is_chosen_by_any_score_and_any_one_by_name(run, store):
    state = build_state(run, size=store.size, shards=range(2), device=torch.device("cpu"))
    lines = []
    for step, mae, ssim in ((0, 90.0, 0.3), (3, 80.0, 0.2), (6, 85.0, 0.6)):
        state.step = step
        save_checkpoint(state, run.run_folder, score=10 - step)
        lines.append({"step": step, "val/mae_hu": mae, "val/ssim": ssim, "loss": 1.0})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.run_folder / "metrics.jsonl").write_text(text)

    def chosen(which="best", metric="val/selection"):
        return select_checkpoint(run.run_folder, which, metric).name

    assert chosen() == chosen("newest") == "step_00000006"
    assert chosen(metric="val/mae_hu") == chosen("step_00000003") == "step_00000003"
    assert chosen(metric="val/ssim") == "step_00000006"
    with pytest.raises(CheckpointError, match=r"val/dice.*val/mae_hu, val/ssim"):
        chosen(metric="val/dice")


def test_scores_of_another_checkpoint_are_refused(run, store, tmp_path):
    save_state(run, store)
    scores = tmp_path / "scores.json"
    facts = {"run": run.run.name, "checkpoint": "step_00000500", "config": config_hash(run)[:8]}
    scores.write_text(json.dumps(facts))

    with pytest.raises(ModelError, match="step_00000500"):
        export(ExportCommand(run_folder=run.run_folder, scores=scores))


def test_only_a_store_of_the_run_s_own_preprocessing_will_do(run, store, capsys):
    """The model has the preprocessing of its store, and each patient's scan gets it."""
    save_state(run, store)
    record_environment(run.run_folder, replace(store, fingerprint="0" * 16), workers=1)
    with pytest.raises(ConfigError, match=rf"{store.fingerprint}.*\(0{{16}}\).*--store"):
        export(ExportCommand(run_folder=run.run_folder))
    assert not (run.run_folder / "model_to_ct").exists()

    record_environment(run.run_folder, replace(store, contents="1" * 16), workers=1)
    shown = {"train": ["one who was removed since"], "val": []}
    write_subjects(run.run_folder, shown)
    assert export(ExportCommand(run_folder=run.run_folder)) == ExitCode.DONE

    assert "have changed since the run began" in capsys.readouterr().out
    info = read_model(run.run_folder / "model_to_ct").info
    assert (info.trained_on.volumes, info.store_contents) == (0, "1" * 16)
    assert info.seen_line == "Trained on scans that were not recorded; 0 steps"
    assert read_subjects(run.run_folder / "model_to_ct") == shown


def test_a_run_that_is_not_there_is_named_with_what_to_name(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no .*nowhere.config\.yaml.*RUNS/NAME"):
        export(ExportCommand(run_folder=tmp_path / "nowhere"))


@pytest.mark.parametrize("content", ["", "7", "[1]", "[" * 100_000])
def test_scores_that_cannot_be_read_are_refused_before_the_work(run, store, tmp_path, content):
    save_state(run, store)
    (tmp_path / "scores.json").write_text(content)

    for name in ("absent.json", "scores.json"):
        with pytest.raises(ModelError, match="No scores can be read"):
            export(ExportCommand(run_folder=run.run_folder, scores=tmp_path / name))
    assert not (run.run_folder / "model_to_ct").exists()
