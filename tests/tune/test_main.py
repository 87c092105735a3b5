"""A search on a real Ray ends with a ranking and a configuration that trains; misuse is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cyclegan.config_file import load_config
from cyclegan.train import checkpoint
from data_prep.errors import UsageError
from tests.stores import make_store
from tune.__main__ import main
from tune.ledger import read

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_trains_its_trials_and_the_best_configuration_loads(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    space = tmp_path / "mine.yaml"
    # The second trial trains to the end as well: one rate is as good as the other after 6 steps,
    # and the scheduler is off.
    space.write_text("loss.cycle_weight: {low: 2, high: 20, log: true}\n")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "tune", "run", str(space), "--preset", "smoke"),
            *("--trials", "2", "--scheduler", "none", "--name", "two"),
            *("--storage", str(tmp_path), "--data.store", str(store.path)),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    trials = read(tmp_path / "two" / "trials.jsonl")
    assert [(trial.state, trial.step) for trial in trials] == [("done", 6), ("done", 6)]
    # The first trial is the preset itself.
    assert trials[0].values == {"loss.cycle_weight": 10.0} != trials[1].values
    for trial in trials:
        run = tmp_path / "two" / "runs" / trial.name
        assert (
            load_config(run / "config.yaml").loss.cycle_weight == trial.values["loss.cycle_weight"]
        )
        best = checkpoint.best(run)
        assert best is not None
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        scores = [line["val/selection"] for line in lines if "val/selection" in line]
        assert trial.score == pytest.approx(min(scores))
    winner = min(trials, key=lambda trial: trial.score or 0)
    best_config = load_config(tmp_path / "two" / "best.yaml")
    assert best_config.loss.cycle_weight == winner.values["loss.cycle_weight"]
    assert best_config.run.name == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "--preset", "smoke"], "which space"),
        (["run", "loss-weights", "--trials", "0"], "at least 1"),
        (["run", "nowhere", "--preset", "smoke", "--data.store", "s"], "neither a space"),
        (["run", "loss-weights", "--preset", "smokey"], "no preset 'smokey'"),
        (["report", "folder", "--best"], "takes a folder only"),
    ],
)
def test_misuse_is_named(argv, message):
    with pytest.raises(UsageError, match=message):
        main(argv)
