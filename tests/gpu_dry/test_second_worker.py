"""The second of two workers, on the second of two devices: nothing of it is on the first."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from cyclegan.train.distributed import (
    Worker,
    max_over_workers,
    mean_over_workers,
    sum_in_order,
)
from tests.gpu_dry.stub_run import DEVICE, eager, fake_tensors, stub_run


@pytest.fixture
def second_worker() -> Iterator[Worker]:
    """Worker 1 of a process group whose collectives return at once, as if alone."""
    dist.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    yield Worker(rank=1, world_size=2, device=DEVICE)
    dist.destroy_process_group()


def as_it_is(seen: list[int], bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Return a bucket of gradients as it is: the fake group's all_reduce returns none."""
    assert bucket.buffer().device == DEVICE
    seen.append(bucket.index())
    summed: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    summed.set_result(bucket.buffer())
    return summed


def test_a_step_under_ddp_stays_on_the_device_of_its_worker(second_worker):
    config = eager("smoke", "bf16")
    run, buckets = stub_run(config, second_worker), []
    assert list(run.state.mri_pool.shards) == [1]
    for module in (run.engine.generators, run.engine.discriminators):
        assert isinstance(module, DistributedDataParallel)
        module.register_comm_hook(buckets, as_it_is)

    with fake_tensors():
        terms = run.step()

    assert len(buckets) >= 2
    assert {term.device for term in terms.values()} == {DEVICE}
    assert torch.cuda.memory_allocated(0) == 0


def test_what_workers_exchange_stays_on_their_devices(second_worker):
    values = torch.arange(3.0).to(DEVICE)

    assert mean_over_workers(values, 1.0).device == DEVICE
    assert sum_in_order([values, values]).device == DEVICE
    assert len(max_over_workers(values)) == 3

    assert torch.cuda.memory_allocated(0) == 0
