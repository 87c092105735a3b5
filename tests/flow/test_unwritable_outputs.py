"""A command that cannot write its result says so before it does the work."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cyclegan.config.files import to_yaml
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.evaluate.results import write_results
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.train.__main__ import main as train
from cyclegan.train.checkpoint.checkpoint import save_checkpoint
from cyclegan.train.engine.state import build_state
from data_prep.__main__ import main as data_prep
from mrct.errors import UsageError
from mrct.storage.local_path import LocalPath
from tests.support.runs import unstored_run
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LocalPath:
    """The folder of a run that has saved an untrained state."""
    folder = tmp_path_factory.mktemp("run")
    store = make_store(folder / "s.zarr", mri=2, ct=2, paired=1, splits=("train", "val"))
    base = unstored_run(folder, "r")
    config = replace(base, data=replace(base.data, store=str(store.path)))
    config.run_folder.make_folder()
    (config.run_folder / "config.yaml").put(to_yaml(config).encode())
    state = build_state(config, size=store.size, shards=range(2), device=torch.device("cpu"))
    save_checkpoint(state, config.run_folder)
    return config.run_folder


def evaluate_run(run: LocalPath, out: LocalPath) -> None:
    write_results(EvaluateCommand(run=run, split="val", out=out))


def export_run(run: LocalPath, out: LocalPath) -> None:
    export(ExportCommand(run_folder=run, out=out / "model"))


def search_rate(run: LocalPath, out: LocalPath) -> None:
    store = str(run.parent / "s.zarr")
    train(["smoke", "--data.store", store, "--run.storage", str(out), "--find-rate"])


def draw_store(run: LocalPath, out: LocalPath) -> None:
    data_prep(["describe", str(run.parent / "s.zarr"), "--picture", str(out / "sheet.png")])


@pytest.mark.parametrize(
    ("command", "work"),
    [
        (evaluate_run, "cyclegan.evaluate.results.evaluate"),
        (export_run, "cyclegan.export.export.write_formats"),
        (search_rate, "cyclegan.train.find_rate.find_rate"),
        (draw_store, "data_prep.store.contact_sheet.save_contact_sheet"),
    ],
)
def test_a_command_says_so_before_it_works(
    run, tmp_path, monkeypatch, command: Callable[[LocalPath, LocalPath], None], work: str
):
    monkeypatch.setattr(work, lambda *a, **k: pytest.fail("the work began"))
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match=r"folder .*file.* cannot be made: .*Give another path"):
        command(run, tmp_path / "file" / "below")
