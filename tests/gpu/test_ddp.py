"""One worker behind DDP, with NCCL on a GPU and gloo on a CPU, takes the steps of one without."""

import inspect

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from cyclegan.train import distributed
from cyclegan.train.distributed import Worker
from cyclegan.train.engine import placement


@pytest.fixture
def process_group(device, tmp_path, monkeypatch):
    if "forward_sync_buffers" not in inspect.signature(DistributedDataParallel).parameters:

        def older(module: torch.nn.Module) -> torch.nn.Module:
            """As torch before 2.13 says it."""
            return DistributedDataParallel(
                module, broadcast_buffers=False, gradient_as_bucket_view=True
            )

        monkeypatch.setattr(placement, "wrap_in_ddp", older)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_worker_behind_ddp_takes_the_same_steps(bench, request, recwarn):
    config = bench.config(compile="no", precision="fp32", channels_last="yes")
    alone = bench.stepper(config).step()
    request.getfixturevalue("process_group")
    stepper = bench.stepper(config)
    behind = [stepper.step() for _ in range(3)]

    assert isinstance(stepper.engine.generators, DistributedDataParallel)
    for name in (name for name in alone if name.startswith("loss/")):
        torch.testing.assert_close(behind[0][name], alone[name], rtol=1e-2, atol=1e-3, msg=name)
    assert not stepper.state.skipped
    assert [str(each.message) for each in recwarn if "stride" in str(each.message)] == []


@pytest.mark.usefixtures("process_group")
def test_workers_talk_on_their_device(device):
    worker = Worker(device=device)

    assert distributed.broadcast_choice(lambda: "yes", worker) == "yes"
    assert distributed.all_gather(["x"], worker) == [["x"]]
    assert distributed.gather("x", worker) == ["x"]
    assert distributed.max_over_workers(torch.tensor([1.0, 2.0], device=device)) == [1, 2]
    found = distributed.mean_over_workers(torch.ones(2, device=device), 1.0)
    assert found.device == device
    assert found.tolist() == [1, 1]
