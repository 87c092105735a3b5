"""A checkpoint holds the state of its step, the host does not wait for it, and a run continues."""

import torch

from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.checkpoint.checkpoint import (
    folder_of,
    load_tensors,
    restore_checkpoint,
    save_checkpoint,
)
from cyclegan.train.distributed import Worker
from tests.gpu.test_step import never_waiting


def test_a_save_holds_the_state_of_its_step_and_does_not_wait_for_the_gpu(bench, folder):
    config = bench.config(compile="no", precision="bf16", channels_last="yes")
    stepper = bench.stepper(config)
    saving = BackgroundSave(folder, Worker(device=bench.device))
    saving.begin(stepper.state)  # allocates the pinned memory, which a sync may be part of
    stepper.step()
    saving.begin(stepper.state)  # now Adam has moments
    saving.finish()

    stepper.step()
    expected = {name: value.clone() for name, value in stepper.state.mean.state_dict().items()}
    with never_waiting(bench.device):
        saving.begin(stepper.state)
        stepper.step()
    saving.finish()
    saving.close()

    saved = load_tensors(folder_of(folder, 2) / "mean.safetensors")
    for name, value in expected.items():
        assert torch.equal(saved[name], value.cpu())


def test_a_restored_run_takes_the_step_that_the_saved_one_takes(bench, folder):
    config = bench.config("deterministic", pairs=1, channels_last="no")
    one, other = bench.stepper(config), bench.stepper(config)
    one.step()
    restore_checkpoint(other.state, save_checkpoint(one.state, folder))

    moments = other.state.generator_optimizer.state.values()
    assert {value.device for each in moments for value in each.values()} == {bench.device}
    expected, found = one.step(), other.step()
    assert all(torch.equal(term, found[name]) for name, term in expected.items())
