"""The comparison of scoring: a head that is scored, and a score that differs is an error."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scoring
from benchmarks.versions import score_head
from benchmarks.versions.side import HERE, Side


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scoring") / "head.npz"
    np.savez(path, **scoring.outputs_of(np.random.default_rng(0), (32, 48, 48)))
    return path


@pytest.mark.parametrize("kind", scoring.KINDS)
def test_each_kind_is_scored_with_finite_numbers(arrays, capsys, monkeypatch, kind):
    monkeypatch.setattr(score_head.torch, "set_num_threads", lambda count: None)
    score_head.main(str(arrays), kind)

    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert np.isfinite(list(found["scores"].values())).all()
    assert {"validate-mri": "selection", "validate-ct": "cycle_ssim", "evaluate-mri": "edges"}[
        kind
    ] in found["scores"]


def test_a_difference_is_relative_above_one_and_infinite_without_a_counterpart():
    before, here = {"a": 200.0, "b": 0.5, "c": 1.0}, {"a": 201.0, "b": 0.25}
    assert scoring.differences(before, here) == {"a": 0.005, "b": 0.25, "c": np.inf}


def test_a_side_s_script_imports_that_side(tmp_path: Path):
    (tmp_path / "cyclegan.py").write_text("NAME = 'the other version'")
    script = tmp_path / "aside" / "script.py"
    script.parent.mkdir()
    (script.parent / "cyclegan.py").write_text("NAME = 'beside the script'")
    script.write_text("import cyclegan; print(cyclegan.NAME)")

    assert Side(label="other", tree=tmp_path).run(str(script)) == "the other version\n"


@pytest.mark.slow
def test_both_sides_agree_on_a_small_head(tmp_path: Path, capsys):
    out = tmp_path / "scoring.json"
    words = ["HEAD", "--rounds", "1", "--shape", "32", "48", "48", "--json", str(out)]

    assert scoring.main([*words, "--kinds", "evaluate-mri"]) == 0

    assert [each["kind"] for each in json.loads(out.read_text())["kinds"]] == ["evaluate-mri"]
    assert "core-seconds" in capsys.readouterr().out
    assert scoring.SCRIPT.is_relative_to(HERE)
