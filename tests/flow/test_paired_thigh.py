"""The one real pair there is, from its files to a report that says why not to quote its figures."""

import json
import subprocess
import sys

import pytest

from cyclegan.config.presets import smoke
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.evaluate.paired_ct import paired_ct_of
from cyclegan.evaluate.results import write_results
from data_prep.store.store import open_store
from mrct.errors import ExitCode
from tests.support.runs import run_of_one_step
from tests.support.stores import make_store

pytestmark = pytest.mark.slow
SPACING_MM, SIZE = (6.0, 5.0, 5.0), (64, 64)


@pytest.fixture(scope="module")
def thigh(tmp_path_factory, shared):
    """The converted pair; its MRI covers a part of its CT, and lies a few mm beside it."""
    folder = tmp_path_factory.mktemp("thigh")
    files = shared / "paired_thigh"
    rows = ["path,modality,subject,split,pair"]
    for name, modality in (("MR_T1", "mri"), ("CT", "ct")):
        rows.append(f"{files / f'STS_002_{name}.nii.gz'},{modality},sts,test,one")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    command = (
        f"{sys.executable} -m data_prep convert --manifest {folder / 'manifest.csv'} "
        f"--out {folder / 'thigh.zarr'} --spacing-mm 6 5 5 --size 64 64 --workers 0"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step on heads of the same grid: its CTs are nonsense, its report must not be."""
    folder = tmp_path_factory.mktemp("run")
    store = make_store(
        folder / "s.zarr", mri=2, ct=2, shape=(4, *SIZE), splits=("train", "val"),
        spacing_mm=SPACING_MM,
    )  # fmt: skip
    return run_of_one_step(store, smoke()).run_folder


@pytest.mark.parametrize("options", [{}, {"register": "rigid"}, {"native": "manifest.csv"}])
def test_the_figures_are_there_and_so_is_why_they_must_not_be_quoted(
    thigh, run, tmp_path, options, capsys
):
    if "native" in options:
        options = options | {"native": thigh / options["native"]}
    code = write_results(
        EvaluateCommand(run=run, store=thigh / "thigh.zarr", out=tmp_path, **options)
    )
    assert code == ExitCode.DONE
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["num_pairs"] == 1
    assert scores["paired"]["CycleGAN"]["mae_hu"]["mean"] > 0
    report = (tmp_path / "report.html").read_text()
    assert "must not be quoted" in report
    assert "Not to be quoted" in capsys.readouterr().out
    for reason in scores["cautions"]:
        assert reason.split(":")[0].split("(")[0] in report
    assert any("too few subjects (1)" in reason for reason in scores["cautions"])
    assert bool(scores["registrations"]) == ("register" in options)


def test_only_voxels_that_both_scans_saw_are_compared(thigh):
    store = open_store(thigh / "thigh.zarr")
    pair = paired_ct_of(store, store.select("mri", "test")[0])
    ct_body = store.body(store.select("ct", "test")[0]).astype(bool)
    assert not (pair.scored & ~pair.seen).any()
    assert 0 < pair.scored.sum() < ct_body.sum()
    assert pair.share_seen < 0.9
