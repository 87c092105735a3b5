"""A save beside the training holds the state of its own step, and its failure ends the run."""

import threading
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from cyclegan.config.config import Config
from cyclegan.train import loop
from cyclegan.train.checkpoint import background_save, checkpoint
from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.loop import train_worker
from tests.support.full_disk import files_no_larger_than


class KilledError(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture
def unvalidated(config: Config) -> Config:
    """The smoke preset, validated at its end only, saved after its third and last step."""
    return replace(config, schedule=replace(config.schedule, validate_every="never"))


def saved_steps(config: Config) -> list[int]:
    return [int(each.name[5:]) for each in checkpoint.saved_checkpoints(config.run_folder)]


def test_training_goes_on_while_a_checkpoint_of_an_earlier_step_is_written(
    unvalidated, finished, monkeypatch
):
    step, write = loop.train_step, background_save.write_snapshot
    go_on, first = threading.Event(), []

    def write_late(snapshot, gathering):
        if snapshot.step == 3:
            assert go_on.wait(60)
        return write(snapshot, gathering)

    def step_and_see(state, *arguments):
        if state.step == 5:
            first.extend(saved_steps(unvalidated))
            go_on.set()
        return step(state, *arguments)

    monkeypatch.setattr(background_save, "write_snapshot", write_late)
    monkeypatch.setattr(loop, "train_step", step_and_see)
    train_worker(unvalidated, Worker())

    assert first == [0]  # steps 4 and 5 were done meanwhile
    assert saved_steps(unvalidated) == [3, 6]
    for step_saved in (3, 6):
        here, there = (
            checkpoint.folder_of(each.run_folder, step_saved) / "mean.safetensors"
            for each in (unvalidated, finished.config)
        )
        assert here.read_bytes() == there.read_bytes()


def test_a_save_waits_for_the_one_before(config, monkeypatch):
    write, at_once, most = background_save.write_snapshot, [], []

    def counted(*arguments):
        at_once.append(1)
        most.append(len(at_once))
        result = write(*arguments)
        at_once.pop()
        return result

    monkeypatch.setattr(background_save, "write_snapshot", counted)
    state = empty(config)
    saving = BackgroundSave(config.run_folder, Worker())
    for state.step in range(4):
        saving.begin(state)
        # The thread may be done with this one, too.
        assert saved_steps(config)[: state.step] == list(range(state.step))
    saving.finish()
    saving.close()

    assert most == [1] * 4
    assert saved_steps(config) == [0, 1, 2, 3]


def test_a_kill_while_saving_leaves_the_checkpoint_before_and_no_litter(
    unvalidated, finished, monkeypatch
):
    step, killed = loop.train_step, threading.Event()

    def write_for_too_long(snapshot, gathering):
        if snapshot.step:
            (gathering / "state.json").put(b"{}")
            assert killed.wait(60)
            raise KilledError
        return write(snapshot, gathering)

    def step_until_killed(state, *arguments):
        if state.step == 5:
            killed.set()
            raise KilledError
        return step(state, *arguments)

    write = background_save.write_snapshot
    with monkeypatch.context() as patch:
        patch.setattr(background_save, "write_snapshot", write_for_too_long)
        patch.setattr(loop, "train_step", step_until_killed)
        with pytest.raises(KilledError):
            train_worker(unvalidated, Worker())
    assert saved_steps(unvalidated) == [0]
    assert len((unvalidated.run_folder / "checkpoints").names()) == 2

    train_worker(unvalidated, Worker())

    assert (unvalidated.run_folder / "checkpoints").names() == ["step_00000003", "step_00000006"]
    manifests = [
        (checkpoint.folder_of(each.run_folder, 6) / checkpoint.FILE_HASHES).read_text()
        for each in (unvalidated, finished.config)
    ]
    assert manifests[0] == manifests[1]


def test_a_failure_of_the_thread_surfaces_with_its_file_and_a_remedy(config):
    state = empty(config)
    saving = BackgroundSave(config.run_folder, Worker())
    saving.begin(state)
    saving.finish()
    state.step = 1
    with files_no_larger_than(2**16):
        saving.begin(state)
        assert saving.committing is not None
        wait([saving.committing])
        with pytest.raises(OSError, match=r"step 1 was not saved.*same command again") as raised:
            bool(saving.unfinished)
    saving.close()

    assert raised.value.filename.endswith("generators.safetensors")
    assert saved_steps(config) == [0]


def test_a_failure_of_the_thread_ends_the_run(unvalidated, monkeypatch):
    step = loop.train_step
    steps = []

    def step_on_a_full_disk(state, *arguments):
        steps.append(state.step)
        if state.step == 2:
            limit.enter_context(files_no_larger_than(2**16))
        return step(state, *arguments)

    monkeypatch.setattr(loop, "train_step", step_on_a_full_disk)
    watchful = replace(unvalidated, guard=replace(unvalidated.guard, look_every_steps=1))
    with ExitStack() as limit, pytest.raises(OSError, match="step 3 was not saved"):
        train_worker(watchful, Worker())

    assert saved_steps(watchful) == [0]


def test_the_thread_of_a_worker_on_a_gpu_takes_its_device(config, monkeypatch):
    chosen: list[tuple[str, torch.device]] = []

    def choose(device: torch.device) -> None:
        chosen.append((threading.current_thread().name, device))

    monkeypatch.setattr(torch.cuda, "set_device", choose)
    device = torch.device("cuda:3")
    saving = BackgroundSave(config.run_folder, Worker(device=device))
    saving.begin(empty(config))
    saving.finish()
    saving.close()

    assert chosen == [("save_0", device)]


def empty(config: Config) -> TrainState:
    return build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))
