"""A run kept on an object store: the same bits, the same files, and the same ways to go on."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclegan.config.config import Config
from cyclegan.config.files import resolve
from cyclegan.errors import ConfigError
from cyclegan.evaluate.model_under_test import locate_checkpoint
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.checkpoint import load_generators
from cyclegan.train.checkpoint.resume import done_steps, run_lock
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, MetricsLog, read_lines
from cyclegan.train.run.signals import STOP, ask_at_most_every, stop_requested
from tests.cyclegan.train.checkpoint.test_checkpoint import digest
from tests.support.object_store import s3_server, unreachable


class KilledError(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def remote(config: Config, bucket: str, request: pytest.FixtureRequest) -> Config:
    storage = f"{bucket}/{request.node.name}"
    return resolve(replace(config, run=replace(config.run, storage=storage)))


def test_a_run_that_was_stopped_ends_on_an_object_store_with_the_bits_of_a_local_one(
    finished, remote, monkeypatch, tmp_path
):
    step, calls = loop.train_step, []

    def step_until_killed(state, *arguments):
        calls.append(state.step)
        if calls == [0, 1, 2, 3, 4]:
            raise KilledError
        return step(state, *arguments)

    monkeypatch.setattr(loop, "train_step", step_until_killed)
    with pytest.raises(KilledError):
        train_worker(remote, Worker())
    resumed = train_worker(remote, Worker())

    assert calls == [0, 1, 2, 3, 4, 3, 4, 5]
    assert digest(resumed) == digest(finished.state)
    folder = remote.run_folder
    assert folder.local is None
    assert [each.name for each in checkpoint.saved_checkpoints(folder)] == [
        "step_00000003",
        "step_00000006",
    ]
    local = checkpoint.folder_of(finished.config.run_folder, 6)
    assert (checkpoint.folder_of(folder, 6) / checkpoint.FILE_HASHES).read_bytes() == (
        local / checkpoint.FILE_HASHES
    ).read_bytes()
    assert not [name for name in folder.sizes() if ".partial" in name]
    lines = read_lines(folder / METRICS)
    assert [line["step"] for line in lines if "rate/discriminators" in line] == [2, 4, 6]
    # Segments: one from before the kill, closed when step 3 was saved, and later ones.
    with (folder / "tensorboard").fetched() as board:
        assert len(board.names()) >= 2
        events = EventAccumulator(str(board), size_guidance={"images": 0})
        events.Reload()
    assert [event.step for event in events.Scalars("1_loss/cycle_mri")] == [2, 4, 6]
    assert [event.step for event in events.Images("2_val/cycles")] == [3, 6]


def test_a_damaged_checkpoint_is_fallen_back_from_and_half_a_one_is_none(remote, capsys):
    train_worker(remote, Worker())
    folder = remote.run_folder
    whole, damaged = checkpoint.saved_checkpoints(folder)
    (damaged / "mean.safetensors").put(b"other bytes")
    (checkpoint.folder_of(folder, 9) / "mean.safetensors").put(b"without a manifest")
    (folder / "checkpoints/.partial-word-step_00000009/state.json").put(b"{}")

    assert done_steps(folder) == 3
    assert "step_00000006/mean.safetensors is damaged" in capsys.readouterr().err
    checkpoint.remove_partial_checkpoints(folder)
    assert checkpoint.saved_checkpoints(folder) == [whole, damaged]
    assert {name.split("/")[0] for name in (folder / "checkpoints").sizes()} == {
        "step_00000003",
        "step_00000006",
    }


def test_an_outage_of_the_store_is_no_damage(remote, monkeypatch):
    train_worker(remote, Worker())
    before = checkpoint.saved_checkpoints(remote.run_folder)

    def unreachable(*arguments, **options):
        raise OSError("connection reset")

    # Of the client itself: fsspec gives it methods of its own, which its class's do not reach.
    monkeypatch.setattr(remote.run_folder.fs, "cat_file", unreachable)
    monkeypatch.setattr(remote.run_folder.fs, "open", unreachable)
    with pytest.raises(OSError, match="connection reset"):
        checkpoint.newest_checkpoint(remote.run_folder)
    with pytest.raises(OSError, match="connection reset"):  # no score would be no reason to keep it
        checkpoint.prune_checkpoints(remote.run_folder, keep_last=1, keep_best=1)
    monkeypatch.undo()
    assert checkpoint.saved_checkpoints(remote.run_folder) == before


def test_workers_go_on_while_the_store_does_not_answer(monkeypatch):
    folder = unreachable(monkeypatch)

    assert not stop_requested(folder)
    with pytest.raises(OSError, match="EndpointConnectionError"):  # what its callers wait for
        read_lines(folder / METRICS)


def test_one_command_holds_a_run_and_its_workers_are_told_to_stop(remote):
    with (
        run_lock(remote.run_folder),
        pytest.raises(ConfigError, match="Another command"),
        run_lock(remote.run_folder),
    ):
        pass

    (remote.run_folder / STOP).put(b"")
    ask = ask_at_most_every(lambda: stop_requested(remote.run_folder), 1000.0)
    assert [ask(), ask()] == [True, False]
    (remote.run_folder / STOP).remove()
    assert not stop_requested(remote.run_folder)


def test_seconds_after_a_machine_has_started_nothing_counts_as_just_done(remote, monkeypatch):
    """`time.monotonic` may count from the start of the machine."""
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    log = MetricsLog(remote.run_folder)
    log.resume_from(step=0)

    log.append({"step": 1})

    assert [line["step"] for line in read_lines(remote.run_folder / METRICS)] == [1]
    assert ask_at_most_every(lambda: True, 1000.0)()


@pytest.mark.slow
def test_a_run_under_a_url_can_be_scored_and_exported(remote, monkeypatch, tmp_path):
    state = train_worker(remote, Worker())

    found = locate_checkpoint(remote.run_folder)
    to_ct, _ = load_generators(found.checkpoint, found.config)

    assert found.run_folder == remote.run_folder
    assert found.config.data == remote.data
    if found.checkpoint.name == "step_00000006":
        for ours, theirs in zip(to_ct.parameters(), state.mean.to_ct.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    monkeypatch.chdir(tmp_path)
    export(ExportCommand(run_folder=remote.run_folder, checkpoint="newest"))
    assert (tmp_path / "runs/small/model_to_ct/model.json").exists()
