"""The pipeline on a GPU gives what it gives on the CPU."""

from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import torch

from cyclegan.config import BatchConfig, Config, DataConfig
from cyclegan.data.batch import Batch
from cyclegan.data.stream import open_stream
from tests.stores import make_store

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CONFIG = Config(
    data=DataConfig(mri_contrast="inverted", min_body_fraction=0),
    batch=BatchConfig(shards=2, shard_size=4),
)


def batches(path: Path, device: torch.device, num_steps: int) -> list[Batch]:
    store = make_store(path, shape=(8, 128, 96))
    stream = open_stream(store, CONFIG, "train", shards=range(2), start_step=0, device=device)
    with closing(stream):
        return list(islice(stream, num_steps))


def test_a_gpu_makes_the_batches_that_a_cpu_makes(tmp_path: Path) -> None:
    on_cpu = batches(tmp_path / "cpu.zarr", torch.device("cpu"), 4)
    on_gpu = batches(tmp_path / "gpu.zarr", torch.device("cuda", 0), 4)

    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        for name in ("mri", "ct", "mri_body", "ct_body"):
            ours, theirs = getattr(gpu, name), getattr(cpu, name)
            assert ours.device.type == "cuda"
            # The edge of a mask may round either way, and with it the inverted MRI beside it.
            differing = ((ours.cpu() - theirs).abs() > 1e-4).float().mean()
            assert differing < 1e-3, name


def test_a_batch_is_not_written_over_while_kernels_are_queued_on_it(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", shape=(8, 128, 96))
    device = torch.device("cuda", 0)
    expected = [batch.mri.sum().item() for batch in batches(tmp_path / "e.zarr", device, 30)]
    stream = open_stream(store, CONFIG, "train", shards=range(2), start_step=0, device=device)

    sums = []
    with closing(stream):
        for batch in islice(stream, 30):
            torch.cuda._sleep(20_000_000)  # the queue runs far behind the host
            sums.append(batch.mri.sum())

    assert [total.item() for total in sums] == expected
