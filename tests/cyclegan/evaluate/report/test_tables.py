"""The tables hold the numbers that were measured, and show what was not."""

import csv
import io
import json
import re
import statistics

import pytest

from cyclegan.evaluate.report.tables import to_csv, to_json, to_text
from cyclegan.evaluate.score_table import SOFT_TISSUE, Scores, VolumeScores
from cyclegan.inference.cycle import GENERATOR

ERRORS = {"mri/a": 80.0, "mri/b": 130.0, "mri/c": 99.0}


def row(volume, method, modality="mri", **values):
    return VolumeScores(
        volume=volume, subject=f"of {volume}", modality=modality, method=method, values=values
    )


PAIRED = Scores(
    split="test",
    volumes=(
        *(row(name, GENERATOR, mae_hu=e, cycle_ssim=0.9) for name, e in ERRORS.items()),
        *(row(name, SOFT_TISSUE, mae_hu=2 * e) for name, e in ERRORS.items()),
        row("ct/d", GENERATOR, "ct", cycle_ssim=0.75, cycle_psnr_db=30.0),
    ),
    populations={GENERATOR: {"hu_distance": 12.0, "bone_depth_mismatch": 0.25}},
    failed=("mri/x is damaged",),
)
UNPAIRED = Scores(split="val", volumes=(row("mri/a", GENERATOR, cycle_ssim=0.5),))


def test_json_has_mean_and_standard_deviation_over_volumes():
    found = json.loads(json.dumps(to_json(PAIRED)))["paired"]
    assert found[GENERATOR]["mae_hu"] == {
        "mean": pytest.approx(statistics.mean(ERRORS.values())),
        "sd": pytest.approx(statistics.pstdev(ERRORS.values())),
        "interval_95": [80, 130],  # of three subjects: the mean of one drawn three times
    }
    assert found[SOFT_TISSUE]["mae_hu"]["mean"] == pytest.approx(206)


def test_json_leaves_out_what_is_unknown():
    found = to_json(UNPAIRED)
    assert found["num_pairs"] == 0
    assert found["paired"] == {GENERATOR: {}}
    assert found["cycle"] == {"mri": {"cycle_ssim": 0.5}, "ct": {}}


def test_what_one_of_two_methods_never_has_is_not_compared():
    """HD95 of bone, where a collapsed generator makes none: no number, and no NaN for JSON."""
    rows = (
        row("mri/a", GENERATOR, mae_hu=9.0),
        row("mri/a", "other", mae_hu=8.0, bone_hd95_mm=3.0),
    )
    scores = Scores(split="test", volumes=rows, compared_models=("other",))

    found = to_json(scores)["comparisons"]["other"]

    assert set(found) == {"mae_hu"}


def test_csv_has_a_line_per_volume_and_method_and_a_mean_per_method():
    lines = list(csv.DictReader(io.StringIO(to_csv(PAIRED))))
    assert len(lines) == 7 + 3
    by_key = {(line["volume"], line["modality"], line["method"]): line for line in lines}
    assert float(by_key["mri/b", "mri", GENERATOR]["mae_hu"]) == 130
    assert float(by_key["mean", "mri", GENERATOR]["mae_hu"]) == pytest.approx(103)
    assert float(by_key["mean", "ct", GENERATOR]["cycle_ssim"]) == 0.75
    assert by_key["mri/b", "mri", SOFT_TISSUE]["bone_dice"] == ""


def test_text_shows_all_methods_and_says_that_pairs_are_missing():
    assert "103.0" in to_text(PAIRED)
    assert SOFT_TISSUE in to_text(PAIRED)
    assert "no pair with a real CT" in to_text(UNPAIRED)


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("scores", [PAIRED, UNPAIRED], ids=["paired", "unpaired"])
def test_the_tables_of_a_terminal_fit_it_and_have_no_empty_column(scores, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))

    tables = to_text(scores).partition(f"{scores.split} split,")[0].rstrip().split("\n\n")

    for table in filter(None, tables):
        head, *rows = table.splitlines()
        assert len(head) <= columns
        methods = [row for row in rows if len(row) == len(head)]
        ends = [found.end() for found in re.finditer(r"\S(?=  |$)", head)]
        for start, end in zip([0, *ends], ends, strict=False):
            assert any(row[start:end].strip(" –") for row in methods), head[start:end]
    assert (tables == [""]) == (scores is UNPAIRED), "cycles have a line of their own"
