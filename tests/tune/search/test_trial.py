"""A trial's configuration, what it tells, and how its failures read."""

import errno
import json
import os
from dataclasses import replace

import pytest
from ray.train.v2.api.exceptions import WorkerGroupError

from cyclegan.contrast.train_table import fit_train_table
from cyclegan.errors import CheckpointError, DataError
from cyclegan.train.checkpoint.run_record import table_of_run
from cyclegan.train.run.worker_failures import read_fatal_error, record_fatal_error
from data_prep.store.store import open_store
from mrct.errors import NoStoreError, StorageFullError, StoreError, UnreachableError
from mrct.storage.local_path import LocalPath
from tests.support.object_store import unreachable
from tests.support.searches import BASE, base_config, settings
from tests.support.stores import make_small_store
from tune.search.search import with_table
from tune.search.settings import context_of
from tune.search.trial import (
    TrialSpec,
    is_outage,
    is_storage_full,
    reason_of,
    surviving_checkpoint,
    validations,
)

HANDED = TrialSpec(name="t003", values={"loss.cycle.weight": 3.0}, run="t003-1", start="")


def test_a_trial_is_a_run_of_its_own_with_the_values_and_the_whole_horizon(tmp_path):
    patient = replace(BASE, train=replace(BASE.train, patience=1))
    context = context_of(settings(tmp_path, look_every_steps=2), patient)

    config = context.config(HANDED)

    assert config.run_folder == tmp_path / "runs" / "t003-1"
    assert (config.loss.cycle.weight, config.train.max_steps) == (3.0, 18)
    # What ended by itself would miss the scheduler's decisions, and count as failed.
    assert config.train.patience == 0
    # A donor may go on for two looks before who takes over from it has started.
    assert (config.schedule.validate_every, config.schedule.keep_last) == ("2 steps", 3)


@pytest.mark.parametrize(("metric", "worst"), [("val/mae_hu", "inf"), ("val/ssim", "-inf")])
def test_a_score_that_is_missing_is_told_as_the_worst(tmp_path, metric, worst):
    context = context_of(settings(tmp_path, metric=metric), BASE)
    config = context.config(HANDED)

    assert context.report_of(config, {"step": 2.0})[metric] == float(worst)
    assert context.report_of(config, {metric: 0.5, "step": 2.0})[metric] == 0.5


def test_guided_trials_share_one_table(tmp_path, monkeypatch):
    store = make_small_store(tmp_path / "s.zarr")
    plain = base_config(str(store.path))
    guided = replace(
        plain,
        data=replace(plain.data, conditions=True),
        generator=replace(plain.generator, guide="table"),
    )
    folder, fits = LocalPath(tmp_path / "search"), []
    context = context_of(settings(folder), guided)
    monkeypatch.setattr(
        "cyclegan.contrast.run_table.fit_train_table",
        lambda store, workers: fits.append(store) or fit_train_table(store, 0),
    )

    for _ in range(2):  # a search that continues has it
        shared = with_table(context, folder, lambda note: None)
    shared.share_table(context.runs / "t000")
    shared.share_table(context.runs / "t000")

    assert table_of_run(context.runs / "t000").store_contents == store.contents
    assert len(fits) == 1
    assert with_table(context_of(settings(folder), plain), folder, fits.append).table is None


def test_the_validations_of_a_run_are_read_without_what_was_not_finite(tmp_path):
    lines = [
        {"step": 1, "loss/generators": 3.0},
        {"step": 2, "val/selection": 1.5, "val/mae_hu": None},
        {"step": 2, "note": "warning"},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert validations(tmp_path) == [{"step": 2, "val/selection": 1.5}]
    assert validations(tmp_path / "nowhere") == []


def test_where_a_donor_let_its_checkpoint_go_the_next_one_serves(tmp_path):
    folder = tmp_path / "t000" / "checkpoints"
    for step in (4, 6):
        (folder / f"step_{step:08d}").mkdir(parents=True)

    assert surviving_checkpoint(folder / "step_00000002").name == "step_00000004"
    assert surviving_checkpoint(folder / "step_00000006").name == "step_00000006"
    with pytest.raises(CheckpointError, match="are gone"):
        surviving_checkpoint(folder / "step_00000008")


def test_a_workers_traceback_is_told_by_its_last_line_and_our_own_words_whole():
    text = "Traceback (most recent call last):\n  File ...\nValueError: no such thing\n"

    assert reason_of(WorkerGroupError(text, {})) == "ValueError: no such thing"
    assert reason_of(DataError("the split val\nhas no MRI.")) == "the split val has no MRI."


def test_a_full_disk_is_known_here_and_from_a_worker(tmp_path):
    full = os.strerror(errno.ENOSPC)

    assert is_storage_full(OSError(errno.ENOSPC, full))
    assert is_storage_full(StorageFullError("the disk has no room."))
    assert is_storage_full(WorkerGroupError(f"OSError: [Errno 28] {full}", {}))
    assert not is_storage_full(OSError(errno.ENOENT, "no such file"))
    assert not is_storage_full(WorkerGroupError("ValueError: 3", {}))

    record_fatal_error(tmp_path, OSError(errno.ENOSPC, full))
    assert is_storage_full(read_fatal_error(tmp_path))
    record_fatal_error(tmp_path, DataError("the split val has no MRI."))
    assert not is_storage_full(read_fatal_error(tmp_path))


def test_an_outage_of_the_store_is_known_here_and_from_a_worker(tmp_path, monkeypatch):
    with pytest.raises(UnreachableError) as refused:
        open_store(unreachable(monkeypatch))
    assert is_outage(refused.value)
    assert is_outage(OSError(errno.ESTALE, os.strerror(errno.ESTALE)))
    with pytest.raises(NoStoreError) as absent:  # as where its disk is not mounted
        open_store(LocalPath(tmp_path / "s.zarr"))
    assert is_outage(absent.value)
    for error in ("UnreachableError", "NoStoreError"):
        assert is_outage(WorkerGroupError(f"mrct.errors.{error}: ", {}))
    assert is_outage(WorkerGroupError(f"OSError: [Errno 5] {os.strerror(errno.EIO)}", {}))
    assert not is_outage(OSError(errno.ENOENT, "no such file"))
    assert not is_outage(WorkerGroupError("ValueError: 3", {}))

    for outage in (refused, absent):
        record_fatal_error(LocalPath(tmp_path), outage.value)
        assert is_outage(read_fatal_error(tmp_path))
    record_fatal_error(tmp_path, StoreError("mri/1 is damaged."))
    assert not is_outage(read_fatal_error(tmp_path))
