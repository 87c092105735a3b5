"""The report is one file that needs nothing else and says what is missing."""

import base64
import re

import pytest
from markupsafe import escape

from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.report.baseline_wins import sentences_of_wins
from cyclegan.evaluate.report.report import html_report
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.inference.cycle import CycleNetworks
from tests.support.stores import make_store

RECORDS = [{"step": step, "loss/cycle": 1.0 / step} for step in (1, 2, 3)]


def same(images):
    return images


def report_of(path, records, **volumes):
    store = make_store(path / "s.zarr", shape=(4, 32, 32), **volumes)
    identity = CycleNetworks(to_ct=same, to_mri=same, contrast="plain")
    scores = evaluate(identity, store, "test", options=ScoringOptions(num_shown=1))
    return scores, html_report(scores, title="a <run>", facts={"split": "test"}, records=records)


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    return report_of(
        tmp_path_factory.mktemp("report"), RECORDS, mri=1, ct=1, paired=1, splits=("train", "test")
    )


def test_nothing_comes_from_outside(paired):
    _, html = paired
    page = re.sub(r"data:image/(png|jpeg);base64,[^\")]*", "", html)
    assert not re.findall(r"https?:|//[a-z]|<script [^>]*src|<link|@import|fetch", page)
    sources = re.findall(r'src="([^"]*)"', html)
    # Scores by volume, by height; skulls; a volume's errors, views; curves.
    assert len(sources) == 6
    for source in sources:
        kind, content = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")


def test_the_table_holds_the_scores_of_all_methods(paired):
    scores, html = paired
    for method in ("CycleGAN", "atlas, median", "histogram matching", "constant soft tissue"):
        assert f"<td>{method}</td>" in html
        assert f"{scores.mean('mae_hu', method=method):.1f}" in html


def test_baselines_that_win_are_named_before_the_table(paired):
    scores, html = paired
    (sentence, *_) = sentences_of_wins(scores)

    assert 0 < html.index(escape(sentence)) < html.index("<td>atlas, median</td>")


def test_names_cannot_break_the_page(paired):
    assert "a &lt;run&gt;" in paired[1]


def test_missing_pairs_cts_and_curves_are_said(tmp_path):
    _, html = report_of(tmp_path, [], mri=1, ct=0, splits=("test",))
    assert "No MRI of the test split has a real CT" in html
    assert "no CT in its train split" in html
    assert "left no metrics.jsonl" in html
