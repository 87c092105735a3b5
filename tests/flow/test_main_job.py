"""The main job by its own commands: phantom, convert, train, evaluate, export, translate."""

import json
import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from tests.support.listening import run_watched

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TINY = [
    *("--num-train-mri", "2", "--num-train-ct", "2", "--num-val", "1", "--num-test", "1"),
    *("--in-plane-mm", "4", "--slice-mm", "8", "--anatomy-mm", "4"),
]


def run(folder: Path, *words: str) -> str:
    """A command as a user types it, in a folder of its own; returns what it printed.

    No other machine can connect to it, except to a Ray that asks for the token.
    """
    ended = run_watched(
        [sys.executable, "-m", *words],
        cwd=folder,
        # Ray of our own, whatever cluster the tester's shell points to.
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, f"{' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr
    uses_ray = "--scale.workers" in words
    assert uses_ray == bool(ended.sockets), ended.sockets
    return ended.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the main job has run, with two gloo workers under Ray."""
    folder = tmp_path_factory.mktemp("main_job")
    run(folder, "data_prep", "phantom", "--out", "cohort", *TINY)
    run(
        folder,
        *("data_prep", "convert", "--manifest", "cohort/manifest.csv", "--out", "heads.zarr"),
        *("--spacing-mm", "8", "4", "4", "--size", "64", "64", "--workers", "0"),
    )
    train = ("cyclegan.train", "smoke", "--data.store", "heads.zarr", "--run.name", "flow")
    run(folder, *train, "--scale.workers", "2")
    assert "finished" in run(folder, *train)
    run(folder, "cyclegan.evaluate", "runs/flow")
    run(folder, "cyclegan.export", "runs/flow")
    run(
        folder,
        *("cyclegan.translate", "runs/flow/model_to_ct", "cohort/mri/phantom-0005.nii.gz"),
        *("--out", "synthetic"),
    )
    return folder


def test_training_with_two_workers_left_its_scores(folder):
    lines = read_lines(folder / "runs/flow" / METRICS)

    assert lines[-2]["step"] == 6
    assert "val/bone_dice" in lines[-2]
    assert "Training took" in lines[-1]["note"]
    assert json.loads((folder / "runs/flow/environment.json").read_text())["workers"] == 2


def test_held_out_heads_are_scored_beside_the_baselines(folder):
    scores = json.loads((folder / "runs/flow/evaluation_test/scores.json").read_text())

    assert scores["num_pairs"] == 1
    methods = {"CycleGAN", "atlas, mean", "atlas, median"}
    methods |= {"histogram matching", "constant soft tissue"}
    assert methods == set(scores["paired"])
    assert scores["paired"]["constant soft tissue"]["bone_dice"]["mean"] == 0
    report = (folder / "runs/flow/evaluation_test/report.html").read_text()
    assert "data:image/png;base64," in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "https://" not in report


def test_the_synthetic_ct_lies_where_the_mri_lay(folder):
    mri = nibabel.load(folder / "cohort/mri/phantom-0005.nii.gz")
    ct = nibabel.load(next((folder / "synthetic").glob("*_synthetic-ct.nii.gz")))
    hu = np.asarray(ct.dataobj)

    assert ct.shape == mri.shape
    np.testing.assert_allclose(ct.affine, mri.affine, atol=1e-3)
    assert -1024 <= hu.min() <= hu.max() <= 3071
    assert np.issubdtype(hu.dtype, np.int16)
