"""The report of a search ranks what has a score, and its best configuration is ready to train."""

import csv
import io
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from rich.console import Console

from cyclegan.config.config import RunConfig
from cyclegan.config.files import load_config, resolve, to_yaml
from cyclegan.train.checkpoint.checkpoint import save_checkpoint
from cyclegan.train.engine.state import build_state
from mrct.errors import ExitCode, NoStoreError, UserError
from tests.support.searches import BASE, WEIGHTS, ended, values, write_search
from tests.support.stores import make_store
from tune.__main__ import main
from tune.report.parallel_coordinates import HEIGHT, OFF_GAP, TOP, parallel_coordinates
from tune.report.report import (
    REPORT,
    html_report,
    print_trials,
    to_csv,
    training_added_nothing,
    write_best,
    write_report,
)
from tune.search.console import progress_line, trials_table, varied_settings
from tune.search.event_log import Score
from tune.search.search_folder import open_search
from tune.search.trial_score import Objective
from tune.space.space import apply_values


@pytest.fixture
def found(tmp_path):
    write_search(tmp_path / "search")
    return open_search(tmp_path / "search")


def test_the_best_configuration_is_the_base_with_the_best_values_and_a_name_of_its_own(found):
    best = load_config(write_best(found))

    expected = apply_values(BASE, values(10.0))
    assert best == replace(expected, run=replace(expected.run, name=""))
    assert resolve(best).run.name.startswith("smoke-")


def test_a_search_without_any_score_has_no_best(found):
    with pytest.raises(UserError, match="none is the best"):
        write_best(replace(found, trials=found.trials[2:]))


def test_a_search_that_never_beats_the_look_up_it_began_with_says_so(found):
    def began_with(score):
        (trial, *_) = found.trials
        before = Score(step=0, value=score, time_s=0.0)
        return replace(found, trials=[replace(trial, scores=(before, *trial.scores))])

    assert "No trial is better than the look-up" in training_added_nothing(began_with(1.5))
    assert training_added_nothing(began_with(2.5)) == ""
    assert training_added_nothing(found) == ""


def test_importance_is_by_the_first_scores_that_training_made(found):
    trials = [
        replace(trial, scores=(Score(step=0, value=1.0, time_s=0.0), *trial.scores))
        for trial in found.trials
    ]
    first = min(trial.scores[0].step for trial in found.trials if trial.scores)

    page = html_report(replace(found, trials=[*trials] * 4), pictures=False)

    assert f"by the scores at step {first}," in page


def test_the_table_for_other_tools_has_every_trial_and_setting(found):
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))

    assert [(row["rank"], row["trial"], row["state"]) for row in rows] == [
        ("1", "t000", "done"),
        ("2", "t001", "stopped"),
        ("3", "t003", "running"),
        ("4", "t002", "failed"),
    ]
    assert rows[0]["val/selection"] == "2.0"
    assert rows[0]["loss.cycle.weight"] == "10.0"
    assert rows[0]["loss.gradient.weight"] == ""  # off
    assert rows[3]["reason"] == "the run diverged"


class Outline(HTMLParser):
    """What a page refers to and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.lines = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        self.lines += tag == "polyline"


def test_the_page_stands_alone_and_draws_every_trial_with_a_score(found):
    page = html_report(found, pictures=False)

    outline = Outline()
    outline.feed(page)
    assert all(source.startswith("data:") for source in outline.sources)
    assert outline.lines == 2
    assert re.search(r"t002 failed: the run diverged", page)
    assert "1 stopped early, 1 failed, 1 unfinished" in page


def test_publishing_writes_all_files_and_says_that_not_all_went_well(found, capsys):
    assert write_report(found, pictures=False) == ExitCode.PARTLY_DONE

    written = {path.name for path in found.folder.iterdir()}
    assert {"best.yaml", "trials.csv", "report.html"} <= written
    assert stat.S_IMODE((found.folder / REPORT).stat().st_mode) == 0o600  # slices of patients
    printed = capsys.readouterr().out
    assert "--config" in printed
    assert f"tensorboard --logdir {found.folder / 'runs'}" in printed
    assert printed.splitlines()[-1].startswith("Unproven: trials are ranked by val/selection")
    assert "Unproven: trials are ranked by val/selection" in (found.folder / REPORT).read_text()


@pytest.mark.parametrize(("metric", "best"), [("selection", "t000"), ("cycle_ssim_mri", "t001")])
def test_a_search_without_pairs_ranks_by_the_score_that_was_named(tmp_path, capsys, metric, best):
    write_search(tmp_path / "search", metric=f"val/{metric}")

    write_report(open_search(tmp_path / "search"), pictures=False)

    doubt = f"Unproven: trials are ranked by val/{metric}, which sees no pair of MRI and CT."
    assert capsys.readouterr().out.splitlines()[-1].startswith(doubt)
    assert doubt in (tmp_path / "search" / REPORT).read_text()
    rows = list(csv.DictReader((tmp_path / "search" / "trials.csv").read_text().splitlines()))
    assert rows[0]["trial"] == best


def test_the_store_of_a_search_that_has_moved_is_named_by_a_flag(tmp_path, capsys):
    folder, moved = tmp_path / "search", tmp_path / "moved.zarr"
    write_search(folder)
    store = make_store(moved, mri=2, ct=2, splits=("train", "val"), shape=(3, 32, 32))
    run = resolve(replace(BASE, run=RunConfig(name="t000", storage=str(folder / "runs"))))
    run.run_folder.mkdir()
    (run.run_folder / "config.yaml").write_text(to_yaml(run))
    state = build_state(run, size=store.size, shards=range(2), device=torch.device("cpu"))
    save_checkpoint(state, run.run_folder, score=2.0)

    with pytest.raises(NoStoreError, match=r"/nowhere\.zarr.*: --store STORE"):
        main(["report", str(folder)])
    with pytest.raises(NoStoreError, match=r"/nowhere\.zarr.*: --store STORE"):
        main(["report", str(folder), "--compare", "reference"])
    assert main(["report", str(folder), "--store", str(moved)]) == ExitCode.PARTLY_DONE

    assert (folder / REPORT).read_text().count("data:image/png") >= 2
    assert load_config(folder / "best.yaml").store == moved


def test_publishing_a_search_whose_trials_all_ended_well_is_done(found):
    kept = (found.folder / "trials.jsonl").read_text().splitlines()
    well = [line for line in kept if '"t000"' in line or '"t001"' in line]
    (found.folder / "trials.jsonl").write_text("\n".join(well) + "\n")

    found = open_search(found.folder)
    assert write_report(found, pictures=False) == ExitCode.DONE
    assert write_report(found, wanted=3, pictures=False) == ExitCode.PARTLY_DONE


def test_the_table_on_the_screen_shows_what_varies_in_order(found):
    text = io.StringIO()
    Console(file=text, width=120).print(trials_table(found.trials, found.objective))

    lines = text.getvalue()
    assert lines.index("t000 (base)") < lines.index("t001") < lines.index("t002")
    assert "cycle.weight" in lines
    assert "identity.weight" not in lines  # the same in all
    assert "stopped early" in lines


def test_the_table_leaves_out_the_settings_that_a_line_has_no_room_for(found):
    def printed(width: int) -> str:
        text = io.StringIO()
        print_trials(found, Console(file=text, width=width))
        assert max(map(len, text.getvalue().splitlines())) <= width
        return text.getvalue()

    assert "cycle.weight" in printed(80)
    assert "without a column" not in printed(80)
    assert "cycle.weight" not in printed(50)
    assert "Settings without a column here: 1, in trials.csv" in printed(50)


def test_a_terms_switch_is_left_out_beside_its_weight():
    on = {"loss.ssim.enabled": True, "loss.ssim.weight": 2.0}
    trials = [
        ended("a", {2: 1.0}, "done", values=on),
        ended("b", {2: 1.0}, "done", values={"loss.ssim.enabled": False}),
    ]

    assert varied_settings(trials) == ["loss.ssim.weight"]


def test_progress_tells_the_counts_the_best_and_the_time_left(found):
    # 18 steps of t000, 2 of t001 and t002 in 22 s; 3 ended, so 22/3 * 6 = 44 are expected.
    line = progress_line(found.trials, 6, found.objective, elapsed_s=22, steps=22)

    assert line == (
        "3 of 6 ended, 1 running, 1 stopped early, 1 failed, best 2 (t000), about 22 s left"
    )


def test_lines_run_through_their_values_good_on_top_and_off_below():
    points = [(1.0, 4.0, True), (30.0, 2.0, False)]
    trials = [
        ended(
            f"t{number}",
            {2: score},
            "done",
            values={"loss.cycle.weight": weight, "loss.ssim.enabled": on}
            | ({"loss.ssim.weight": 10.0} if on else {}),
        )
        for number, (weight, score, on) in enumerate(points)
    ]

    drawn = parallel_coordinates(trials[::-1], WEIGHTS, Objective())

    assert drawn is not None
    # The switch is left out beside its weight, which is off where the switch is.
    assert [axis.label for axis in drawn.axes] == ["cycle.weight", "ssim.weight", "selection"]
    ys = {
        line.trial.name: [float(point.split(",")[1]) for point in line.points.split()]
        for line in drawn.lines
    }
    top, bottom, off = TOP, TOP + HEIGHT, TOP + HEIGHT + OFF_GAP
    assert ys["t0"][0] == bottom  # the lowest weight
    assert ys["t0"][1:] == [top, bottom]  # the highest SSIM weight, the worst score
    assert ys["t1"][0] == top
    assert ys["t1"][1:] == [off, top]
    assert [line.rank for line in drawn.lines] == [1, 0]  # the best is drawn last


def test_one_trial_makes_no_picture_of_coordinates():
    assert parallel_coordinates([ended("a", {2: 1.0}, "done")], WEIGHTS, Objective()) is None
