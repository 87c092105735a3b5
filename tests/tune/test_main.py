"""A search on a real Ray ends with a ranking and a configuration that trains; misuse is refused."""

import csv
import json
import os
import re
import sys
from pathlib import Path

import pytest

from cyclegan.config.files import load_config
from cyclegan.train.checkpoint import checkpoint
from mrct.cli import run_command
from mrct.errors import UsageError
from tests.support.listening import run_watched
from tests.support.stores import make_store
from tune.__main__ import main
from tune.search.event_log import EVENT_LOG, EventLog

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_stops_a_bad_trial_early_and_the_best_configuration_is_ready(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"), shape=(4, 32, 32))
    space = tmp_path / "mine.yaml"
    # The preset is tried first; the other value trains nothing to speak of.
    space.write_text("optimizer.learning_rate: {choice: [2.0e-4, 1.0e-9]}\n")

    done = run_watched(  # no other machine can connect, except to a Ray that asks for the token
        [
            *(sys.executable, "-m", "tune", "run", str(space), "--preset", "smoke"),
            *("--sampler", "grid", "--look-every", "5", "--name", "two"),
            *("--storage", str(tmp_path), "--data.store", str(store.path)),
            *("--train.max-steps", "45", "--guard.look-every-steps", "1"),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Unproven: trials are ranked by val/selection")
    assert lines[-1] == lines[0]
    folder = tmp_path / "two"
    good, bad = EventLog(folder / EVENT_LOG, writes=False).trials
    assert (good.origin, good.state, good.step) == ("base", "done", 45)
    assert (bad.values, bad.state) == ({"optimizer.learning_rate": 1e-9}, "stopped")
    # It is asked to end at the first look, and trains on until its worker has seen that.
    assert 5 <= bad.step <= 25
    for trial in (good, bad):
        run = folder / "runs" / trial.name
        rate = load_config(run / "config.yaml").optimizer.learning_rate
        assert rate == trial.values["optimizer.learning_rate"]
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        told = {line["step"]: line["val/selection"] for line in lines if "val/selection" in line}
        assert {score.step: score.value for score in trial.scores} == pytest.approx(told)
        # Who is stopped saves first: nothing is torn.
        assert checkpoint.newest_checkpoint(run) == checkpoint.saved_checkpoints(run)[-1]
    best = load_config(folder / "best.yaml")
    assert (best.optimizer.learning_rate, best.run.name) == (2e-4, "")
    with (folder / "trials.csv").open() as table:
        assert [row["trial"] for row in csv.DictReader(table)] == ["t000", "t001"]
    assert (folder / "report.html").read_text().count("data:image/png") >= 3
    assert "tune: t001 was stopped early" in done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "--preset", "smoke"], "No search space was given"),
        (["run", "nowhere", "--preset", "smoke"], "neither a space"),
        (["run", "weights", "--preset", "smokey"], "no preset 'smokey'"),
        (["run", "weights", "--storage", "s3://bucket"], "needs a folder for its event log"),
        (["run", "weights", "--preset", "smoke", "--metric", "mea_hu"], "no such score"),
        (["report", "."], "contains no search"),
        (["report", "folder"], "There is no folder"),
    ],
)
def test_misuse_is_named_before_anything_is_trained(argv, message, tmp_path, monkeypatch):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"), shape=(3, 32, 32))
    monkeypatch.setenv("CYCLEGAN_STORE", str(store.path))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=message):
        main(argv)

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "weights", "--trials", "0"], "--trials is 0; it must be at least 1"),
        (["run", "weights", "--look-every", "0"], "--look-every is 0"),
        (["run", "weights", "--time-budget", "8"], "8h, 30m or 90s"),
        (["run", "weights", "--loss.cyle-weight", "3"], "--loss.cyle-weight"),
        (["report", "folder", "--best"], "Unrecognized options: --best"),
        (["report", "folder", "--compare", "default", "--seeds", "1"], "at least 2"),
        ([], "{run,report}"),
    ],
)
def test_wrong_arguments_are_told_by_what_is_there(argv, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_command(main, argv)

    assert message in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
