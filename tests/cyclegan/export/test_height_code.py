"""The code of the cards finds the heights that `translate` finds."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from cyclegan.export.metadata import INFO as MODEL_JSON
from cyclegan.export.metadata import TableInfo
from cyclegan.export.model_card import model_card, table_card
from cyclegan.export.usage_code import height_code
from data_prep.preprocess.axis_fit import fit_axis
from data_prep.preprocess.height_axis import HeightAxis, outline_of, sizes_by_mm
from data_prep.preprocess.spec import PreprocessingSpec
from tests.support.models import INFO
from tests.support.round_heads import SPACING_MM, round_head

AXIS = fit_axis(
    [
        sizes_by_mm(outline_of(round_head(size, *cut)), SPACING_MM)
        for size, cut in ((1, (0, 0)), (0.97, (20, 0)), (1.03, (0, 20)), (1, (30, 15)))
    ]
)
TABLE = TableInfo(
    contrast_table="",
    preprocessing=PreprocessingSpec(spacing_mm=SPACING_MM, size=(64, 64)),
    height_axis=AXIS,
    run="one",
    store_fingerprint="f" * 16,
    store_contents="c" * 16,
)
BODIES = {
    "whole": round_head(1),
    "cut": round_head(1, 30, 21),
    "elsewhere": np.ones((400, 64, 64), bool),
    "with shoulders beyond the slices": np.pad(round_head(1, 30), ((0, 0), (32, 32), (32, 32)))
    | (np.arange(60) < 10)[:, None, None],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("axis", [AXIS, HeightAxis()], ids=["axis", "none"])
def test_heights_are_those_of_the_engine(body, axis, tmp_path, monkeypatch):
    info = replace(TABLE, height_axis=axis)
    (tmp_path / MODEL_JSON).write_text(json.dumps(asdict(info)))
    monkeypatch.chdir(tmp_path)
    names = {"np": np, "json": json, "body": body}

    exec(height_code(info), names)

    rows, columns = ((n - 64) // 2 for n in body.shape[1:])
    stored = body[:, rows : rows + 64, columns : columns + 64]
    expected = axis.place(outline_of(stored), SPACING_MM).heights(len(body))
    np.testing.assert_array_equal(names["height"], expected)


def test_both_cards_have_the_code_and_say_what_the_height_is():
    with_conditions = replace(INFO, conditions=True, height_axis=AXIS)
    for card, info in ((table_card(TABLE), TABLE), (model_card(with_conditions), with_conditions)):
        assert height_code(info) in card
        assert "training volumes were aligned by their outlines |" in card
    assert "lowest, 1 at the highest slice with body" in model_card(INFO)
