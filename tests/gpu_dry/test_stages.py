"""What follows a step on a GPU: checkpoints to and fro, validation, export. Copies are real."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cyclegan.config.config import Config, RunConfig
from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.export.model_folder import read_model
from cyclegan.train.checkpoint.checkpoint import (
    load_generators,
    restore_checkpoint,
    save_checkpoint,
)
from cyclegan.train.checkpoint.snapshot import modules_of, optimizer_tensors, optimizers_of
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.validation.scorer import Scorer
from cyclegan.train.validation.scores import validate_volumes
from data_prep.store.store import Store
from mrct.errors import ExitCode
from tests.gpu_dry.stub_run import CPU, DEVICE, fake_tensors
from tests.support.stores import make_store

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("store") / "heads.zarr"
    splits = ("train", "train", "val")
    return make_store(path, mri=2, ct=2, paired=1, splits=splits, shape=(4, 32, 32))


@pytest.fixture
def config(tmp_path, store) -> Config:
    """A run with conditions whose folder holds its settings, as the export needs it."""
    base = smoke()
    data = replace(base.data, store=str(store.path), conditions=True)
    config = resolve(replace(base, run=RunConfig(storage=str(tmp_path)), data=data))
    config.run_folder.mkdir()
    (config.run_folder / "config.yaml").write_text(to_yaml(config))
    return config


def state_of(
    config: Config, device: torch.device, layout: torch.memory_format = torch.contiguous_format
) -> TrainState:
    return build_state(config, size=(32, 32), shards=range(2), device=device, layout=layout)


def fill_optimizers(state: TrainState) -> None:
    """Give Adam the moments that a step would; the stub has no kernels for one."""
    generator = torch.Generator().manual_seed(1)
    for optimizer in optimizers_of(state).values():
        for weight in optimizer.param_groups[0]["params"]:
            moments = torch.rand(2, *weight.shape, generator=generator)
            first, second = (torch.empty_like(weight).copy_(moment) for moment in moments)
            optimizer.state[weight] = {
                "step": torch.tensor(7.0).to(weight.device),
                "exp_avg": first,
                "exp_avg_sq": second,
            }


def tensors_of(state: TrainState) -> dict[str, torch.Tensor]:
    found = {
        f"{name}.{key}": tensor
        for name, module in modules_of(state).items()
        for key, tensor in module.state_dict().items()
    }
    for name, optimizer in optimizers_of(state).items():
        found |= {f"{name}.{key}": value for key, value in optimizer_tensors(optimizer).items()}
    return found


@pytest.mark.parametrize(
    ("source", "target"), [(DEVICE, DEVICE), (DEVICE, CPU), (CPU, DEVICE)], ids=str
)
def test_a_checkpoint_moves_between_gpu_and_cpu(config, source, target):
    saved = state_of(config, source)
    fill_optimizers(saved)
    folder = save_checkpoint(saved, config.run_folder)
    restored = state_of(replace(config, run=replace(config.run, seed=1)), target)

    restore_checkpoint(restored, folder)

    before, after = tensors_of(saved), tensors_of(restored)
    assert before.keys() == after.keys()
    assert {tensor.device for tensor in after.values()} == {target}
    assert [name for name in before if not torch.equal(before[name].cpu(), after[name].cpu())] == []
    assert restored.mri_pool.images.device == restored.skipped.device == target


def test_a_checkpoint_keeps_the_layout_of_the_weights_on_the_gpu(config):
    saved = state_of(config, DEVICE, torch.channels_last)
    fill_optimizers(saved)
    folder = save_checkpoint(saved, config.run_folder)

    restored = state_of(config, DEVICE, torch.channels_last)
    restore_checkpoint(restored, folder)

    for optimizer in optimizers_of(restored).values():
        for weight, moments in optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                assert moments[name].stride() == weight.stride()
                assert moments[name].device == DEVICE


class OnFakeTensors(nn.Module):
    """A network that runs on fake tensors, and returns zeros of the shape that it made."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        with fake_tensors():
            made = self.network(images)
        assert made.device == images.device == DEVICE
        return torch.zeros(tuple(made.shape), dtype=made.dtype).to(DEVICE)


def test_validation_runs_its_networks_on_the_device_and_scores_on_the_host(config, store):
    state = state_of(config, DEVICE)
    to_ct, to_mri = OnFakeTensors(state.mean.to_ct), OnFakeTensors(state.mean.to_mri)

    scorer = Scorer(store)
    futures = validate_volumes(to_ct, to_mri, store, config, scorer, device=DEVICE, batch_size=2)
    assert futures is not None
    found = [future.result() for future in futures]

    assert {volume.modality for volume in found} == {"mri", "ct"}
    assert all(volume.scores for volume in found)
    assert to_ct.calls == to_mri.calls == 2 * len(found)  # there and back, two batches of two
    assert torch.cuda.memory_allocated(0) == 0


@pytest.mark.slow
def test_a_checkpoint_of_a_gpu_is_exported_on_the_cpu(config):
    state = state_of(config, DEVICE)
    folder = save_checkpoint(state, config.run_folder)

    command = ExportCommand(run_folder=config.run_folder, direction="mri-to-ct")
    assert export(command) == ExitCode.DONE

    to_ct, _ = load_generators(folder, config)
    (model_folder,) = config.run_folder.glob("model*")
    model = read_model(model_folder)
    assert {weight.device for weight in to_ct.parameters()} == {CPU}
    for name, weight in state.mean.to_ct.state_dict().items():
        assert torch.equal(weight.cpu(), model.network.state_dict()[name].cpu())
