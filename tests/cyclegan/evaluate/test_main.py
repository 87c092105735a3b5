"""The command finds the run, writes three files and answers with the right exit code."""

import csv
import json
import shutil
import stat
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest
import torch

from cyclegan.config.files import load_config, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.errors import CheckpointError
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.evaluate.model_under_test import (
    ModelUnderTest,
    locate_checkpoint,
    open_model_under_test,
    with_unique_names,
)
from cyclegan.evaluate.results import write_results
from cyclegan.export.command import ExportCommand as ExportCommand
from cyclegan.export.export import export
from cyclegan.inference.cycle import CycleNetworks
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.engine.state import build_state
from data_prep.store.store import open_store
from mrct.errors import ExitCode, UsageError
from tests.support.models import publish_model
from tests.support.runs import run_of_one_step
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step."""
    return trained(tmp_path_factory.mktemp("evaluate"), smoke())


def trained(folder, config):
    """A run of one step, beside its store."""
    store = make_store(
        folder / "s.zarr", mri=2, ct=2, paired=1, shape=(4, 64, 64), splits=("train", "val")
    )
    return run_of_one_step(store, config).run_folder


def test_a_run_is_scored_by_its_best_checkpoint(run, tmp_path, capsys):
    code = write_results(EvaluateCommand(run=run, split="val", out=tmp_path / "out", pictures=1))
    assert code == ExitCode.DONE
    printed, said = capsys.readouterr()
    assert "Making the baselines from the training CTs (1)" in said
    assert "histogram matching" in printed
    seen = "Trained on 2 subjects of unknown kind: 1 MRI, 1 CT; 1 step"
    assert printed.startswith(seen)
    assert "The baseline 'atlas, median' is better than CycleGAN in" in printed
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["checkpoint"] == "step_00000001"
    assert scores["num_pairs"] == 1
    assert scores["paired"]["CycleGAN"]["mae_hu"]["mean"] > 0
    with (tmp_path / "out/per_volume.csv").open() as file:
        assert {line["volume"] for line in csv.DictReader(file)} > {"mean"}
    schema = files("cyclegan.evaluate.report").joinpath("scores.schema.json").read_text()
    jsonschema.validate(scores, json.loads(schema))
    command = EvaluateCommand(run=run, split="val", out=tmp_path / "json", pictures=1, json=True)
    write_results(command)
    assert json.loads(capsys.readouterr().out) == json.loads(
        (tmp_path / "json/scores.json").read_text()
    )
    html = (tmp_path / "out/report.html").read_text()
    assert "trained on 2 subjects" in html
    for sha256 in scores["hashes"].values():
        assert len(sha256) >= 16
        assert sha256 in html
    assert html.count('<img src="data:image/png') == 6
    # Slices of patients.
    assert stat.S_IMODE((tmp_path / "out/report.html").stat().st_mode) == 0o600
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scores.json",
        "per_volume.csv",
        "report.html",
    }


def test_a_checkpoint_folder_can_be_named(run):
    checkpoint = run / "checkpoints/step_00000001"
    for named in (run, checkpoint):
        found = locate_checkpoint(named)
        assert (found.run_folder, found.checkpoint) == (run, checkpoint)


def test_a_run_compared_with_itself_ties_in_every_score(run, tmp_path, capsys):
    write_results(EvaluateCommand(run=run, split="val", out=tmp_path, pictures=1, compare=(run,)))
    scores = json.loads((tmp_path / "scores.json").read_text())
    (name,) = scores["comparisons"]
    assert name == "one, step_00000001"
    assert scores["paired"][name] == scores["paired"]["CycleGAN"]
    assert scores["comparisons"][name]["mae_hu"]["difference"] == 0
    assert "too few subjects for a test" in capsys.readouterr().out
    assert f"<td>{name}</td>" in (tmp_path / "report.html").read_text()


def test_a_model_of_another_grid_is_not_compared(run, tmp_path):
    same = open_store(run.parent / "s.zarr")
    network = Generator(filters=4, blocks=1, upsample="resize")
    model = publish_model(tmp_path / "model_to_ct", network, same.preprocessing)
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, shape=(4, 32, 32), splits=("test",))
    with pytest.raises(UsageError, match="two grids cannot be compared"):
        open_model_under_test(model, store)
    one_way = open_model_under_test(model, same)
    assert (one_way.name, one_way.networks.to_mri) == ("model_to_ct", None)


@pytest.fixture(scope="module")
def models(run):
    """The folder of both directions that the run was exported as."""
    export(ExportCommand(run_folder=run, direction="both"))
    return run / "model_both"


@pytest.mark.slow
def test_an_exported_model_of_both_directions_is_compared(run, models):
    same = open_store(run.parent / "s.zarr")
    both = open_model_under_test(models, same)
    assert (both.networks.neighbours, both.networks.conditions) == (0, False)
    assert both.networks.to_mri is not None


@pytest.mark.slow
def test_an_exported_model_is_scored_without_its_run(run, models, tmp_path):
    """It scores as its checkpoint does; only what a cycle brings back is missing."""
    model, store = tmp_path / "model_to_ct", run.parent / "s.zarr"
    shutil.copytree(models / "to_ct", model)
    write_results(
        EvaluateCommand(run=model, store=store, split="val", out=tmp_path / "m", pictures=1)
    )
    write_results(
        EvaluateCommand(compare=(run, model), split="val", out=tmp_path / "r", pictures=1)
    )
    of_model, of_both = (
        json.loads((tmp_path / name / "scores.json").read_text()) for name in ("m", "r")
    )
    assert of_model["cycle"] == {"mri": {}, "ct": {}}
    assert "selection" not in of_model["populations"]["CycleGAN"]
    ours, theirs = of_model["paired"]["CycleGAN"], of_both["paired"]["model_to_ct"]
    assert ours == theirs
    assert theirs["mae_hu"]["mean"] == pytest.approx(
        of_both["paired"]["CycleGAN"]["mae_hu"]["mean"], abs=0.5
    )
    assert "no cycle and no selection score" in (tmp_path / "m/report.html").read_text()
    with pytest.raises(UsageError, match="Give one with --store"):
        write_results(EvaluateCommand(run=model))


def test_nothing_named_is_wrong_use():
    with pytest.raises(UsageError, match="Nothing to score"):
        write_results(EvaluateCommand())


def test_a_rival_sees_the_channels_that_it_was_trained_with(run, tmp_path):
    store = open_store(run.parent / "s.zarr")
    config = load_config(run / "config.yaml")
    wide = replace(config, data=replace(config.data, neighbours=1, conditions=True))
    assert open_model_under_test(run, store).networks.neighbours == 0
    other = tmp_path / "wide"
    other.mkdir()
    (other / "config.yaml").write_text(to_yaml(wide))
    state = build_state(wide, size=store.size, shards=range(2), device=torch.device("cpu"))
    checkpoint.save_checkpoint(state, other, score=None, attempt="a")
    networks = open_model_under_test(other, store).networks
    assert (networks.neighbours, networks.conditions) == (1, True)
    write_results(
        EvaluateCommand(run=run, compare=(other,), split="val", out=tmp_path / "out", pictures=0)
    )


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="neither a run nor a checkpoint nor an exported"):
        locate_checkpoint(tmp_path)


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(smoke()))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        locate_checkpoint(tmp_path)


def test_a_damaged_volume_makes_the_result_partly_done(run, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=1, shape=(4, 64, 64), splits=("test",))
    (store.path / store.select("mri", "test")[0].name / "0/c/0/0/0").unlink()
    code = write_results(EvaluateCommand(run=run, store=store.path, out=tmp_path, pictures=0))
    assert code == ExitCode.PARTLY_DONE
    assert len(json.loads((tmp_path / "scores.json").read_text())["failed"]) == 1


@pytest.mark.slow
def test_an_exported_model_of_neighbours_and_conditions_is_shown_them(tmp_path):
    config = smoke()
    shown = replace(config.data, neighbours=1, conditions=True)
    run = trained(tmp_path, replace(config, data=shown))
    export(ExportCommand(run_folder=run))

    write_results(
        EvaluateCommand(
            compare=(run, run / "model_to_ct"), split="val", out=tmp_path / "r", pictures=1
        )
    )

    scores = json.loads((tmp_path / "r/scores.json").read_text())["paired"]
    assert scores["model_to_ct"]["mae_hu"]["mean"] == pytest.approx(
        scores["CycleGAN"]["mae_hu"]["mean"], abs=0.5
    )


def test_models_that_share_a_name_are_told_apart_by_their_hash():
    by_hash = {"a": "model_to_ct", "b": "model_to_ct", "c": "other", "d": "CycleGAN"}
    networks = CycleNetworks(to_ct=torch.neg, to_mri=None, contrast="plain")
    found = with_unique_names(
        [
            ModelUnderTest(name=name, networks=networks, sha256=sha * 64)
            for sha, name in by_hash.items()
        ]
    )
    names = [each.name for each in found]
    assert names == ["model_to_ct aaaaaaaa", "model_to_ct bbbbbbbb", "other", "CycleGAN dddddddd"]
