"""Updates that stay not finite take a run back at smaller rates, and in the end stop it clean."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from nvidia.dali import Pipeline, fn

from cyclegan.config.config import GuardConfig
from cyclegan.config.files import to_yaml
from cyclegan.data.batch import Batch
from cyclegan.errors import CheckpointError, ConfigError, DivergedError, LoaderError
from cyclegan.train import loop
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.snapshot import modules_of
from cyclegan.train.distributed import Worker
from cyclegan.train.divergence import explain_out_of_memory
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from tests.support.gloo import run_workers

WATCHFUL = GuardConfig(look_every_steps=1, max_streak=2, max_rollbacks=2)
POISONED_WORKER = """
from dataclasses import replace

open_stream = loop.open_stream

def poisoned(*arguments, **options):
    for number, batch in enumerate(open_stream(*arguments, **options)):
        yield replace(batch, ct=batch.ct * torch.nan) if rank == 1 and number >= 2 else batch

loop.open_stream = poisoned
worker = meet(2)
try:
    train_worker(config, worker)
except Exception as error:
    print(type(error).__name__, error, file=sys.stderr)
"""


@pytest.fixture
def guarded(config):
    schedule = replace(config.schedule, save_every="2 steps", validate_every="never")
    return replace(config, guard=WATCHFUL, schedule=schedule)


def poison(monkeypatch: pytest.MonkeyPatch, first: int, last: int, times: int = 10**6) -> None:
    """Make the CT of steps `first` to `last` NaN, on the first `times` ways through them."""
    clean, ways = loop.open_stream, []

    def poisoned(*arguments, start_step: int, **options) -> Iterator[Batch]:
        ways.append(start_step)
        stream = clean(*arguments, start_step=start_step, **options)
        bad = range(first, last + 1) if len(ways) <= times else range(0)
        for step, batch in enumerate(stream, start=start_step + 1):
            yield replace(batch, ct=batch.ct * torch.nan) if step in bad else batch

    monkeypatch.setattr(loop, "open_stream", poisoned)


def finite(state) -> bool:
    return all(
        torch.as_tensor(tensor).isfinite().all()
        for module in modules_of(state).values()
        for tensor in module.state_dict().values()
    )


def test_a_validation_that_meets_a_divergence_ends_the_run_at_once(config):
    """Weights may be as large as this after an update whose gradients were finite."""
    wild = replace(
        config,
        optimizer=replace(config.optimizer, learning_rate=1e30, schedule="constant"),
        schedule=replace(config.schedule, validate_every="1 steps"),
    )

    with pytest.raises(DivergedError, match="do not translate"):
        train_worker(wild, Worker())


def test_a_streak_takes_the_run_back_to_its_last_good_checkpoint_at_half_the_rates(
    guarded, monkeypatch
):
    guarded = replace(guarded, optimizer=replace(guarded.optimizer, schedule="constant"))
    poison(monkeypatch, first=4, last=5, times=1)
    table, restore = "f" * 64, checkpoint.restore_checkpoint

    def restore_older(state, folder):
        """A checkpoint from before the run got its contrast table."""
        restore(state, folder)
        state.contrast_table = ""

    monkeypatch.setattr(checkpoint, "restore_checkpoint", restore_older)
    monkeypatch.setattr(
        "cyclegan.train.first_state.take_table",
        lambda state, *_, **__: setattr(state, "contrast_table", table),
    )

    state = train_worker(guarded, Worker())

    assert state.step == 6
    assert state.rollbacks == 1
    assert state.contrast_table == table
    assert state.skipped.item() == 0  # the counter went back, too
    assert finite(state)
    lines = read_lines(guarded.run_folder / METRICS)
    # Step 4 was saved amid the streak: the run goes back to step 2, from before it.
    (note,) = [line for line in lines if line.get("note", "").startswith("warning")]
    assert note["step"] == 2
    assert "steps 4 to 5, were not finite: loss/adversarial, loss/cycle_ct" in note["note"]
    assert "on worker 0 (samples 6 to 9)" in note["note"]
    told = {
        line["step"]: line["rate/discriminators"] for line in lines if "rate/discriminators" in line
    }
    assert told == {2: 2e-4, 4: 1e-4, 6: 1e-4}


def test_how_often_a_stop_is_asked_for_does_not_decide_where_a_run_goes_back(guarded, monkeypatch):
    """That hangs on the clock; a streak is looked for on the same steps in every run."""
    poison(monkeypatch, first=4, last=5)
    watchful = replace(
        guarded,
        guard=replace(WATCHFUL, look_every_steps=3),
        scale=replace(guarded.scale, grace_s=0),  # asked after each step
    )

    state = train_worker(watchful, Worker())

    assert (state.rollbacks, state.skipped.item(), state.streak.item()) == (0, 2, 0)


def test_checkpoints_amid_a_streak_do_not_push_out_the_way_back(guarded, monkeypatch):
    schedule = replace(guarded.schedule, save_every="1 step", keep_last=2)
    guard = replace(WATCHFUL, max_streak=4)
    poison(monkeypatch, first=3, last=6, times=1)

    state = train_worker(replace(guarded, schedule=schedule, guard=guard), Worker())

    assert (state.step, state.rollbacks, state.skipped.item()) == (6, 1, 0)
    lines = read_lines(guarded.run_folder / METRICS)
    (note,) = [line for line in lines if line.get("note", "").startswith("warning")]
    assert note["step"] == 2


def test_where_no_checkpoint_is_from_before_the_streak_the_oldest_is_the_way_back(guarded):
    state = train_worker(guarded, Worker())
    shutil.rmtree(guarded.run_folder / "checkpoints")
    state.streak.fill_(1)
    for state.step in (7, 8):
        checkpoint.save_checkpoint(state, guarded.run_folder)

    assert checkpoint.rollback_target(guarded.run_folder) == checkpoint.folder_of(
        guarded.run_folder, 7
    )

    shutil.rmtree(guarded.run_folder / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint left to roll back to"):
        checkpoint.rollback_target(guarded.run_folder)


def test_a_short_streak_is_only_counted(guarded, monkeypatch):
    poison(monkeypatch, first=3, last=3)

    state = train_worker(guarded, Worker())

    assert (state.rollbacks, state.skipped.item(), state.streak.item()) == (0, 1, 0)
    assert finite(state)


def test_a_run_that_never_heals_stops_with_term_step_and_worker(guarded, monkeypatch):
    poison(monkeypatch, first=4, last=6)

    with pytest.raises(DivergedError, match=r"steps 4 to 5.*cycle_ct.*worker 0.*2 times"):
        train_worker(guarded, Worker())

    # It can be gone on from, and its weights are those of the last good step.
    assert checkpoint.rollback_target(guarded.run_folder) == checkpoint.folder_of(
        guarded.run_folder, 2
    )


def test_a_run_that_diverges_before_its_first_checkpoint_begins_anew(guarded, monkeypatch):
    poison(monkeypatch, first=1, last=2, times=1)

    state = train_worker(guarded, Worker())

    assert (state.step, state.rollbacks) == (6, 1)


@pytest.mark.slow
def test_both_workers_stop_and_name_the_one_whose_data_is_bad(guarded, tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(to_yaml(replace(guarded, guard=replace(WATCHFUL, max_rollbacks=0))))

    told = run_workers(POISONED_WORKER, path, 2)

    for text in told:
        assert "DivergedError The run diverged" in text
        assert "steps 3 to 4" in text
        assert "on worker 1" in text


def test_too_little_memory_is_told_with_the_setting_that_needs_less(config):
    with (
        pytest.raises(ConfigError, match=r"90 GiB(.|\n)*--scale\.accumulate.*2 pairs"),
        explain_out_of_memory(config),
    ):
        raise torch.OutOfMemoryError("tried to allocate 90 GiB")


def dali_out_of_memory() -> None:
    """Ask DALI for more bytes than addresses."""
    graph = Pipeline(batch_size=1, num_threads=1, device_id=None, exec_dynamic=True)
    with graph:
        image = fn.external_source(name="image", layout="HWC")
        graph.set_outputs(fn.resize(image, size=[2**24, 2**24]))
    graph.build()
    graph.feed_input("image", np.zeros((1, 2, 2, 1), np.uint8))
    graph.run()


def said(message: str) -> Callable[[], None]:
    def fail() -> None:
        raise RuntimeError(message)

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(lambda: torch.empty(2**60, dtype=torch.uint8), id="torch on a CPU"),
        pytest.param(lambda: np.empty(2**60, np.uint8), id="numpy"),
        pytest.param(dali_out_of_memory, id="DALI on a CPU"),
        # As reported by users of each library.
        pytest.param(said("Critical error in pipeline: CUDA allocation failed"), id="DALI"),
        pytest.param(said("Can't allocate 33554432 bytes on device 0."), id="DALI's pool"),
        pytest.param(said("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), id="cuDNN 8"),
        pytest.param(
            said("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), id="cuDNN 9"
        ),
        pytest.param(
            said("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            id="cuBLAS",
        ),
        pytest.param(said("CUDA error: out of memory"), id="CUDA"),
        pytest.param(
            said(
                "NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled cuda error\nncclUnhandled"
                "CudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of "
                "memory'"
            ),
            id="NCCL",
        ),
    ],
)
def test_the_remedy_is_named_whichever_library_ran_out_of_memory(config, fail):
    with pytest.raises(ConfigError, match=r"--scale\.accumulate"), explain_out_of_memory(config):
        fail()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("NCCL error: Cuda failure 1 'invalid argument'"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        LoaderError("The batch loader has ended without an error"),
        ValueError("out of memory"),
    ],
)
def test_another_error_stays_what_it_is(config, error):
    with pytest.raises(type(error)) as raised, explain_out_of_memory(config):
        raise error
    assert raised.value is error
