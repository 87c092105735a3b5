"""The record of a search: what Tune says of a trial becomes one true line."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest

from cyclegan.config_file import resolve
from cyclegan.presets import smoke
from cyclegan.train.validate import SELECTION
from tests.stores import make_store
from tune.ledger import LEDGER, read
from tune.search import Recorder


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1)
    base = resolve(replace(smoke(), data=replace(smoke().data, store=str(store.path))))
    return Recorder(tmp_path / LEDGER, base, store, lambda count, note: None)


def trial_of(recorder: Recorder, scores: list[float]) -> SimpleNamespace:
    """A trial as Tune shows it, validated every 2 steps."""
    error = recorder.path.with_name("error.txt")
    error.write_text("Traceback ...\ncyclegan.errors.DataError: no CT\n")
    trial = SimpleNamespace(trial_id="a", config={"loss.cycle_weight": 3.0}, error_file=str(error))
    for number, score in enumerate(scores, 1):
        result = {SELECTION: score, "step": 2.0 * number}
        recorder.on_trial_result(iteration=1, trials=[], trial=trial, result=result)
    return trial


@pytest.mark.parametrize(
    ("scores", "kept", "state"),
    [
        ([3.0, 1.0, 2.0], 1.0, "done"),
        ([3.0, 4.0], 3.0, "stopped"),
        ([inf, inf, inf], None, "done"),
        ([inf, 2.0, inf], 2.0, "done"),
    ],
)
def test_the_score_is_that_of_the_best_validation(recorder, scores, kept, state):
    recorder.on_trial_complete(iteration=1, trials=[], trial=trial_of(recorder, scores))

    (ended,) = read(recorder.path)
    assert (ended.score, ended.state, ended.step) == (kept, state, 2 * len(scores))
    assert ended.values == {"loss.cycle_weight": 3.0}


def test_a_trial_that_raised_has_a_reason_and_no_score(recorder):
    recorder.on_trial_error(iteration=1, trials=[], trial=trial_of(recorder, [3.0, 1.0]))

    (line,) = recorder.path.read_text().splitlines()
    ended = json.loads(line)
    assert (ended["score"], ended["state"]) == (None, "failed")
    assert ended["reason"] == "cyclegan.errors.DataError: no CT"
