"""A save beside the steps of a GPU holds the state of its own step, and the host does not wait."""

import pytest
import torch

from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.checkpoint.checkpoint import folder_of, load_tensors
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.step import train_step
from tests.gpu.test_step import CONFIG, batch_on, state_on

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_save_holds_the_state_of_its_step_and_does_not_wait_for_the_gpu(tmp_path):
    worker = Worker(device=torch.device("cuda", 0))
    state, batch = state_on("cuda"), batch_on("cuda")
    engine = place_networks(state, CONFIG, worker, note=pytest.fail)
    saving = BackgroundSave(tmp_path, worker)
    saving.begin(state)  # allocates the pinned memory, which a sync may be part of
    train_step(state, engine, batch, CONFIG.loss, 0.9)
    saving.begin(state)  # now Adam has moments
    saving.finish()

    train_step(state, engine, batch, CONFIG.loss, 0.9)
    expected = {name: value.clone() for name, value in state.mean.state_dict().items()}
    torch.cuda.set_sync_debug_mode("error")
    try:
        saving.begin(state)
        train_step(state, engine, batch, CONFIG.loss, 0.9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    saving.finish()
    saving.close()

    saved = load_tensors(folder_of(tmp_path, 2) / "mean.safetensors")
    for name, value in expected.items():
        assert torch.equal(saved[name], value.cpu())
