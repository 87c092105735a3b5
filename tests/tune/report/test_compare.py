"""Whether a gain is real: new seeds, the split that nothing was chosen by, an honest interval."""

import json

import numpy as np
import pytest
from scipy import stats

from cyclegan.errors import ConfigError
from tests.support.searches import write_search
from tests.support.stores import make_store
from tune.report.compare import (
    SearchComparison,
    best_other_trial,
    compare,
    comparisons,
    digest_of,
    split_to_judge_on,
)
from tune.search.search_folder import open_search
from tune.search.trial_score import Objective
from tune.space.space import apply_values


def verdict(best, other, metric="val/mae_hu"):
    return SearchComparison(
        metric=metric,
        split="test",
        best="t003",
        other="default",
        best_scores=tuple(best),
        other_scores=tuple(other),
    )


@pytest.mark.parametrize(
    ("best", "other", "metric", "said"),
    [
        ((200, 210, 190), (220, 222, 215), "val/mae_hu", "the gain is real"),
        ((200, 210, 190), (220, 195, 200), "val/mae_hu", "may be luck"),
        ((230, 231, 232), (200, 202, 203), "val/mae_hu", "it is worse"),
        ((0.8, 0.82, 0.81), (0.7, 0.72, 0.7), "val/ssim", "the gain is real"),
    ],
)
def test_the_verdict_follows_from_the_interval_over_seeds(best, other, metric, said):
    found = verdict(best, other, metric)

    assert said in str(found)
    theirs = stats.ttest_1samp(np.array(found.gains), 0).confidence_interval(0.95)
    assert found.interval == pytest.approx((theirs.low, theirs.high))


def test_the_test_split_is_judged_on_where_it_can_be(tmp_path):
    common = {"shape": (3, 32, 32)}
    paired = make_store(tmp_path / "p.zarr", mri=1, ct=1, paired=1, splits=("test",), **common)
    unpaired = make_store(tmp_path / "u.zarr", mri=1, ct=1, splits=("test",), **common)
    without = make_store(tmp_path / "w.zarr", mri=2, ct=1, splits=("train", "val"), **common)
    mae, selection = Objective(metric="val/mae_hu"), Objective()

    assert split_to_judge_on(paired, mae) == "test"
    assert split_to_judge_on(unpaired, mae) == "val"
    assert split_to_judge_on(unpaired, selection) == "test"
    assert split_to_judge_on(without, selection) == "val"


def test_one_compares_with_the_preset_the_reference_recipe_or_a_file(tmp_path):
    write_search(tmp_path / "s")
    found = open_search(tmp_path / "s")
    bad = tmp_path / "bad.yaml"
    bad.write_text("loss.cycle.weight: 1\nloss.identity.enabled: false\n")

    assert best_other_trial(found, "default") == {}
    assert best_other_trial(found, "reference")["loss.ssim.enabled"] is False
    assert best_other_trial(found, str(bad)) == {
        "loss.cycle.weight": 1,
        "loss.identity.enabled": False,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss.cycel.weight: 1", "not a setting"),
        ("loss.cycle.weight: -1", "0 or more"),
        ("- 1", "not a setting"),
    ],
)
def test_a_file_of_what_is_no_setting_is_refused(tmp_path, text, message):
    write_search(tmp_path / "s")
    (tmp_path / "bad.yaml").write_text(text)

    with pytest.raises(ConfigError, match=message):
        best_other_trial(open_search(tmp_path / "s"), str(tmp_path / "bad.yaml"))


def test_a_name_that_is_no_file_is_refused(tmp_path):
    write_search(tmp_path / "s")

    with pytest.raises(ConfigError, match="default, reference or a YAML file"):
        best_other_trial(open_search(tmp_path / "s"), "defualt")


def test_the_preset_itself_is_not_compared_with_itself(tmp_path):
    write_search(tmp_path / "s")  # its best trial is the preset

    with pytest.raises(ConfigError, match="nothing to compare"):
        compare(open_search(tmp_path / "s"), "default", 3)


def test_other_settings_under_a_name_of_before_are_another_comparison(tmp_path):
    """Else an edited file would get the verdict on its former content."""
    write_search(tmp_path / "s")
    found, file = open_search(tmp_path / "s"), tmp_path / "mine.yaml"
    words = []
    for weight in (1, 25, 1):
        file.write_text(f"loss.cycle.weight: {weight}\n")
        arms = found.require_best().values, best_other_trial(found, str(file))
        words.append(digest_of(*(apply_values(found.base, arm) for arm in arms)))

    assert words[0] == words[2] != words[1]


def test_verdicts_are_found_for_the_report(tmp_path):
    folder = tmp_path / "compare-default-t003"
    folder.mkdir()
    (folder / "verdict.json").write_text(json.dumps({"sentence": "the gain is real."}))

    assert comparisons(tmp_path) == ["the gain is real."]
