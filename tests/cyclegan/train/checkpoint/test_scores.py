"""Scores are recorded beside the checkpoints, and one that was lost is computed again."""

import json
from dataclasses import replace

import pytest

from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.scores import SCORES_FILE, add_score, read_scores
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines


def logged(config):
    lines = read_lines(config.run_folder / METRICS)
    return {line["step"]: line["val/selection"] for line in lines if "val/selection" in line}


def names(folders):
    return [folder.name for folder in folders]


def test_each_checkpoint_that_was_validated_has_the_score_that_was_logged(finished):
    folders = checkpoint.saved_checkpoints(finished.config.run_folder)

    assert {int(each.name[5:]): checkpoint.score_of(each) for each in folders} == logged(
        finished.config
    )
    assert checkpoint.unscored_checkpoints(finished.config.run_folder) == []


def test_lines_are_added_and_a_score_that_is_not_finite_is_none(tmp_path):
    add_score(tmp_path, step=1, manifest_hash="a", score=0.1)
    before = (tmp_path / SCORES_FILE).read_bytes()
    add_score(tmp_path, step=2, manifest_hash="b", score=None)

    assert (tmp_path / SCORES_FILE).read_bytes().startswith(before)
    assert read_scores(tmp_path) == {"a": 0.1, "b": None}


@pytest.mark.parametrize("place", range(5, 115, 20))
def test_a_flipped_bit_costs_the_score_of_its_line_and_is_said(tmp_path, capsys, place):
    for name in ("a", "b"):
        add_score(tmp_path, step=1, manifest_hash=name, score=0.1)
    content = bytearray((tmp_path / SCORES_FILE).read_bytes())
    content[place] ^= 1
    (tmp_path / SCORES_FILE).write_bytes(content)

    assert read_scores(tmp_path) == {"b": 0.1}
    assert f"Line 1 of {tmp_path / SCORES_FILE} is damaged" in capsys.readouterr().err


def test_scores_belong_to_the_bytes_of_a_checkpoint(trained, config):
    trained.step = 6  # other weights in the place of those that were scored
    next(trained.mean.parameters()).data.fill_(0.5)
    checkpoint.save_checkpoint(trained, config.run_folder)

    assert checkpoint.score_of(checkpoint.folder_of(config.run_folder, 6)) == float("inf")
    best = checkpoint.best_checkpoint(config.run_folder)
    assert best == checkpoint.folder_of(config.run_folder, 3)


def test_lost_scores_are_computed_again_from_the_checkpoints(trained, config, finished):
    (config.run_folder / SCORES_FILE).unlink()
    assert names(checkpoint.unscored_checkpoints(config.run_folder)) == [
        "step_00000003",
        "step_00000006",
    ]
    reports: list[dict[str, float]] = []

    train_worker(config, Worker(), reports.append)

    assert checkpoint.unscored_checkpoints(config.run_folder) == []
    assert reports == finished.reports
    assert logged(config) == logged(finished.config)
    lines = read_lines(config.run_folder / METRICS)
    assert [line["step"] for line in lines if "val/selection" in line] == [3, 6]  # once each


def test_a_damaged_checkpoint_is_not_scored_and_stops_nothing(trained, config, capsys):
    (config.run_folder / SCORES_FILE).unlink()
    (checkpoint.folder_of(config.run_folder, 3) / "mean.safetensors").write_bytes(b"")

    train_worker(config, Worker())

    assert names(checkpoint.unscored_checkpoints(config.run_folder)) == []
    assert "It cannot be scored any more" in capsys.readouterr().err


def test_a_checkpoint_that_waits_for_its_score_is_kept_and_ranks_last(trained, config):
    (config.run_folder / SCORES_FILE).unlink()
    checkpoint.record_score(checkpoint.folder_of(config.run_folder, 6), 1e6)
    for trained.step in (9, 12, 15):
        checkpoint.save_checkpoint(trained, config.run_folder)

    def kept(**options):
        checkpoint.prune_checkpoints(config.run_folder, keep_last=2, keep_best=1, **options)
        return [int(each.name[5:]) for each in checkpoint.saved_checkpoints(config.run_folder)]

    assert kept() == [3, 6, 12, 15]
    best = checkpoint.best_checkpoint(config.run_folder)
    assert best == checkpoint.folder_of(config.run_folder, 6)
    assert kept(has_ended=True) == [6, 12, 15]


def test_a_score_within_a_checkpoint_of_an_earlier_version_is_computed_again(trained, config):
    folder = checkpoint.folder_of(config.run_folder, 6)
    facts = json.loads((folder / checkpoint.STATE).read_text())
    del facts["validated"]
    for score, waiting in ((0.5, ["step_00000006"]), (None, [])):
        (folder / checkpoint.STATE).write_text(json.dumps(facts | {"score": score}))
        manifest = json.loads((folder / checkpoint.FILE_HASHES).read_text())
        manifest[checkpoint.STATE] = (folder / checkpoint.STATE).sha256()
        (folder / checkpoint.FILE_HASHES).write_text(json.dumps(manifest))

        assert names(checkpoint.unscored_checkpoints(config.run_folder)) == waiting


def test_a_stop_while_lost_scores_are_computed_leaves_them_to_the_next_start(config):
    paused = replace(config, schedule=replace(config.schedule, pause_at_step=3))
    train_worker(paused, Worker())
    (config.run_folder / SCORES_FILE).unlink()

    state = train_worker(config, Worker(), stop_requested=lambda: True)

    assert state.step == 4  # the first look
    assert names(checkpoint.unscored_checkpoints(config.run_folder)) == ["step_00000003"]
