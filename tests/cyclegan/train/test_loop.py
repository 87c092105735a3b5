"""The loop continues where it stopped, bit for bit, and leaves what a run must leave."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclegan.config.files import load_config, resolve, to_yaml
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.export.model_folder import read_model
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.run_record import record_subjects
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.validation import background
from data_prep.store.subject_record import read_subjects, subjects_of, write_subjects
from mrct.errors import UnreachableError
from mrct.storage.local_path import LocalPath
from tests.cyclegan.train.checkpoint.test_checkpoint import digest
from tests.support.gloo import run_workers


class KilledError(Exception):
    """Stands for a kill between two steps."""


def test_a_run_that_was_stopped_ends_with_the_same_bits(config, finished, monkeypatch):
    step, steps = loop.train_step, []

    def step_until_killed(state, *arguments):
        if state.step == 4 and len(steps) == 4:
            raise KilledError
        steps.append(state.step)
        return step(state, *arguments)

    monkeypatch.setattr(loop, "train_step", step_until_killed)
    with pytest.raises(KilledError):
        train_worker(config, Worker())
    resumed = train_worker(config, Worker())

    assert steps == [0, 1, 2, 3, 3, 4, 5]  # saved after the third; the fourth was lost and redone
    assert digest(resumed) == digest(finished.state)
    logged = [
        line["step"]
        for line in read_lines(config.run_folder / METRICS)
        if "rate/discriminators" in line
    ]
    assert logged == [2, 4, 6]


def test_a_run_whose_store_goes_away_and_comes_back_ends_with_the_same_bits(
    config, finished, store, tmp_path
):
    own, away = tmp_path / "own.zarr", tmp_path / "away.zarr"
    shutil.copytree(store.path, own)
    moved = replace(config, data=replace(config.data, store=str(own)))

    def unplug():
        if own.exists():
            own.rename(away)
        return False

    # Its slices lie in memory by then, but validation reads whole volumes.
    with pytest.raises(UnreachableError, match=r"own\.zarr cannot be read now"):
        train_worker(moved, Worker(), stop_requested=unplug)
    away.rename(own)

    assert digest(train_worker(moved, Worker())) == digest(finished.state)


def test_a_run_in_segments_validates_at_each_pause_and_ends_with_the_same_bits(config, finished):
    for pause in (2, 4, 0):
        schedule = replace(config.schedule, pause_at_step=pause, validate_every="never")
        ended = train_worker(replace(config, schedule=schedule), Worker())
        assert ended.step == (pause or 6)

    # The rates kept to the whole run's course, or the weights would differ.
    assert digest(ended) == digest(finished.state)
    lines = read_lines(config.run_folder / METRICS)
    assert [line["step"] for line in lines if "val/selection" in line] == [2, 4, 6]


def test_a_run_records_the_subjects_that_it_and_the_run_it_began_at_were_shown(
    finished, store, tmp_path
):
    assert read_subjects(finished.config.run_folder) == subjects_of(store)

    donor, heir = LocalPath(tmp_path / "donor"), LocalPath(tmp_path / "heir")
    for folder in (donor, heir):
        folder.make_folder()
    write_subjects(donor, {"train": ["of the donor"], "val": []})
    record_subjects(heir, store, donor / "checkpoints" / "step_00000003")
    record_subjects(heir, store, None)  # resumed, the donor being gone

    assert set(read_subjects(heir)["train"]) == {*subjects_of(store)["train"], "of the donor"}


def test_a_run_leaves_its_config_metrics_pictures_and_checkpoints(finished):
    folder = finished.config.run_folder
    assert resolve(load_config(folder / "config.yaml")) == finished.config
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    told = {name for line in lines for name in line}
    speed = {"pairs_per_s", "slices_per_s", "step_ms", "data_wait_ms", "generators_ms"}
    assert {f"speed/{name}" for name in speed | {"discriminators_ms"}} <= told
    assert {"loss/generators", "memory/peak_gib", "val/selection", "val/mae_hu"} <= told
    assert "speed/sync_ms" not in told  # there is nobody to wait for
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("1_loss/cycle_mri")] == [2, 4, 6]
    for picture in ("cycles", "axial", "coronal", "sagittal"):
        assert [event.step for event in events.Images(f"2_val/{picture}")] == [3, 6]
    assert [report["step"] for report in finished.reports] == [3, 6]
    assert checkpoint.best_checkpoint(folder) in checkpoint.saved_checkpoints(folder)


def test_a_validation_that_a_kill_cut_off_is_made_up_for(config, monkeypatch):
    scores, calls = background.summarise, []

    def killed_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise KilledError
        return scores(*arguments, **options)

    monkeypatch.setattr(background, "summarise", killed_once)
    with pytest.raises(KilledError):
        train_worker(config, Worker())
    train_worker(config, Worker())

    lines = read_lines(config.run_folder / METRICS)
    assert [line["step"] for line in lines if "val/selection" in line] == [3, 6]
    events = EventAccumulator(str(config.run_folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("2_val/selection")] == [3, 6]


def test_events_by_the_clock_come_at_looks_and_the_share_of_training_is_reported(config):
    schedule = replace(
        config.schedule,
        log_every="0.001 seconds",
        save_every="0.001 seconds",
        validate_every="never",
        keep_last=100,
    )
    by_clock = replace(config, schedule=schedule, guard=replace(config.guard, look_every_steps=1))

    train_worker(by_clock, Worker())

    saved = [int(each.name[5:]) for each in checkpoint.saved_checkpoints(by_clock.run_folder)]
    assert saved == [0, 1, 2, 3, 4, 5, 6]
    lines = read_lines(by_clock.run_folder / METRICS)
    shares = [x["speed/training_percent"] for x in lines if "speed/training_percent" in x]
    assert len(shares) == 6
    assert all(0 < share <= 100 for share in shares)
    assert re.match(r"Training took \d.* % of .*validating .* %, saving", lines[-1]["note"])


@pytest.mark.slow
def test_workers_take_what_worker_0_sees_of_clock_and_storage(config):
    schedule = replace(config.schedule, save_every="0.001 seconds", validate_every="never")
    watched = replace(
        config,
        schedule=replace(schedule, keep_last=100),
        guard=replace(config.guard, look_every_steps=1),
    )
    path = LocalPath(config.run_folder.parent / "config.yaml")
    path.parent.make_folder()
    path.write_text(to_yaml(watched))
    body = """
from cyclegan.train.periodic_events import PeriodicEvents
worker = meet(2)
asked = []
due = PeriodicEvents.due_by_clock
def ask(*arguments):
    asked.append("clock")
    return due(*arguments)
PeriodicEvents.due_by_clock = ask
def stop():
    asked.append("storage")
    return asked.count("storage") == 4
state = train_worker(config, worker, stop_requested=stop)
assert state.step == 4, state.step
assert asked == ["storage", "clock"] * 4 * (rank == 0), asked
"""
    run_workers(body, path, 2)

    saved = [int(each.name[5:]) for each in checkpoint.saved_checkpoints(config.run_folder)]
    assert saved == [0, 1, 2, 3, 4]


def test_losses_fall(config):
    longer = replace(
        config,
        train=replace(config.train, max_steps=30),
        schedule=replace(config.schedule, save_every="never", validate_every="never"),
    )

    train_worker(longer, Worker())

    lines = [x for x in read_lines(longer.run_folder / METRICS) if "loss/cycle_ct" in x]
    assert lines[-1]["loss/cycle_ct"] < 0.8 * lines[0]["loss/cycle_ct"]


@pytest.mark.slow
def test_a_run_with_neighbours_trains_and_validates_on_three_slices_at_a_time(config):
    config = replace(config, data=replace(config.data, neighbours=1))

    state = train_worker(config, Worker())

    assert state.generators.to_ct.layers[1].in_channels == 3
    assert state.step == 6
    assert (config.run_folder / METRICS).read_text().count("val/mae_hu") >= 1
    export(ExportCommand(run_folder=config.run_folder))
    info = read_model(config.run_folder / "model_to_ct").info
    assert info.inputs == ("mri, slice -1", "mri", "mri, slice +1")


@pytest.mark.slow
def test_a_run_with_conditions_shows_two_more_channels_to_all_networks_and_validates(config):
    config = replace(config, data=replace(config.data, conditions=True, neighbours=1))

    state = train_worker(config, Worker())

    assert state.generators.to_ct.layers[1].in_channels == 5
    assert state.discriminators.ct.layers[0].in_channels == 3
    assert state.ct_pool.images.shape[1] == 3
    assert (config.run_folder / METRICS).read_text().count("val/mae_hu") >= 1
    export(ExportCommand(run_folder=config.run_folder, direction="ct-to-mri"))
    info = read_model(config.run_folder / "model_to_mri").info
    slices = ("ct, slice -1", "ct", "ct, slice +1")
    assert info.inputs == ("depth below the surface", *slices, "height")
    assert max(info.parity.values()) < 1
