"""The report of a search ranks what has a score, and its best configuration is ready to train."""

import io
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan.config_file import load_config, resolve
from cyclegan.errors import ConfigError
from cyclegan.presets import smoke
from data_prep.errors import UsageError, UserError
from tune.ledger import LEDGER, Trial, append, ranked, read
from tune.report import open_search, table, write_best
from tune.search import capacity, create_folder
from tune.space import SPACES, apply

BASE = resolve(replace(smoke(), data=replace(smoke().data, store="/nowhere.zarr")))
ENDED = [
    Trial(name="a", values={"loss.cycle_weight": 3.0}, score=2.0, step=6, state="done"),
    Trial(
        name="b",
        values={"loss.cycle_weight": 9.0},
        score=None,
        step=0,
        state="failed",
        reason="no CT",
    ),
    Trial(name="c", values={"loss.cycle_weight": 5.5}, score=1.5, step=3, state="stopped"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished search."""
    create_folder(tmp_path / "search", BASE, SPACES["loss-weights"])
    for trial in ENDED:
        append(tmp_path / "search" / LEDGER, trial)
    return tmp_path / "search"


def test_trials_without_a_score_rank_last(folder):
    base, trials = open_search(folder)

    assert base == BASE
    assert [trial.name for trial in trials] == ["c", "a", "b"]
    assert ranked(ENDED[1:2] + ENDED[:1]) == [ENDED[0], ENDED[1]]


def test_a_line_cut_short_by_a_kill_is_left_out(folder):
    with (folder / LEDGER).open("a") as file:
        file.write('{"name": "d", "val')

    assert read(folder / LEDGER) == ENDED


def test_the_best_configuration_is_the_base_with_the_best_values_and_a_name_of_its_own(folder):
    best = load_config(write_best(folder))

    expected = apply(BASE, ENDED[2].values)
    assert best == replace(expected, run=replace(expected.run, name=""))
    assert resolve(best).run.name != BASE.run.name


def test_a_search_without_any_score_has_no_best(folder):
    (folder / LEDGER).unlink()
    append(folder / LEDGER, ENDED[1])

    with pytest.raises(UserError, match="none is the best"):
        write_best(folder)


def test_a_search_never_writes_over_another(folder):
    with pytest.raises(ConfigError, match="never writes over"):
        create_folder(folder, BASE, SPACES["loss-weights"])
    assert read(folder / LEDGER) == ENDED


def test_a_folder_that_holds_no_search_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no search"):
        open_search(tmp_path)


def test_the_table_shows_scores_in_order_and_reasons():
    text = io.StringIO()
    Console(file=text, width=80).print(table(ranked(ENDED)))

    lines = text.getvalue()
    assert lines.index("1.5000") < lines.index("2.0000") < lines.index("failed")
    assert "b failed: no CT" in lines


@pytest.mark.parametrize(
    ("scale", "cluster", "expected"),
    [
        ({}, {"CPU": 2.0}, (1, 1)),  # 0.1 of the second core leads the trial
        ({}, {"CPU": 16.0}, (1, 15)),
        ({"cpus_per_worker": 2}, {"CPU": 16.0}, (7, 2)),
        ({"workers": 2}, {"CPU": 64.0, "GPU": 8.0}, (4, 7)),
        ({"workers": 2, "gpu": "no"}, {"CPU": 9.0, "GPU": 8.0}, (1, 4)),
        ({"cpus_per_worker": 8}, {"CPU": 17.0, "GPU": 8.0}, (2, 8)),
    ],
)
def test_as_many_trials_run_at_once_as_fit(scale, cluster, expected):
    assert capacity(replace(BASE.scale, **scale), cluster) == expected


@pytest.mark.parametrize(
    ("scale", "cluster"),
    [
        ({}, {"CPU": 1.0}),
        ({"workers": 2}, {"CPU": 64.0, "GPU": 1.0}),
        ({"gpu": "yes"}, {"CPU": 4.0}),
    ],
)
def test_a_trial_that_can_never_fit_is_refused_before_the_search(scale, cluster):
    with pytest.raises(ConfigError, match="wait for ever"):
        capacity(replace(BASE.scale, **scale), cluster)


def test_no_score_is_kept_as_nothing_and_never_as_infinity(folder):
    assert "Infinity" not in (folder / LEDGER).read_text()
    assert ranked([replace(ENDED[0], score=1e30), ENDED[1]])[0].score == 1e30 < inf
