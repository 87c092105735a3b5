"""The pipeline on a GPU gives what it gives on the CPU."""

from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.data.batch import Batch
from cyclegan.data.stream import open_stream
from tests.support.stores import make_store

CONFIG = Config(
    data=DataConfig(
        mri_contrast="inverted",
        min_body_fraction=0,
        gamma=(0.8, 1.25),
        bias_field=0.1,
        blur_mm=1.5,
        noise=0.02,
        noise_kind="rician",
        intensity_share=0.5,
    ),
    batch=BatchConfig(shards=2, shard_size=4),
)


MAX_ERROR = 1e-3
"""Two HU; CPU and GPU interpolate by different code (OpenCV's and DALI's own)."""


def batches(
    path: Path, device: torch.device, num_steps: int, config: Config = CONFIG
) -> list[Batch]:
    store = make_store(path, shape=(8, 128, 96))
    stream = open_stream(store, config, "train", shards=range(2), start_step=0, device=device)
    with closing(stream):
        return list(islice(stream, num_steps))


@pytest.mark.parametrize("neighbours", [0, 1])
def test_a_gpu_makes_the_batches_that_a_cpu_makes(
    tmp_path: Path, device: torch.device, neighbours: int
) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, neighbours=neighbours))
    on_cpu = batches(tmp_path / "cpu.zarr", torch.device("cpu"), 4, config)
    on_gpu = batches(tmp_path / "gpu.zarr", device, 4, config)

    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        for name in ("mri", "ct", "mri_body", "ct_body"):
            ours, theirs = getattr(gpu, name), getattr(cpu, name)
            assert ours.device == device
            # The edge of a mask may round either way, and with it the inverted MRI beside it.
            error = (ours.cpu() - theirs).abs()
            print(f"{name}: largest error {error.max():.2g}, mean {error.mean():.2g}")
            assert (error > MAX_ERROR).float().mean() < 1e-3, name


def test_float16_and_channels_last_come_from_the_gpu_too(
    tmp_path: Path, device: torch.device
) -> None:
    store = make_store(tmp_path / "s.zarr", shape=(8, 128, 96))
    config = replace(
        CONFIG,
        data=replace(CONFIG.data, neighbours=1, dtype="float16"),
        train=replace(CONFIG.train, precision="fp16"),
    )
    stream = open_stream(
        store,
        config,
        "train",
        shards=range(2),
        start_step=0,
        device=device,
        channels_last=True,
    )
    with closing(stream):
        batch = next(stream)

    assert batch.mri.dtype == torch.float16
    assert batch.mri.shape == (8, 3, 128, 96)
    assert batch.mri.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_is_not_written_over_while_kernels_are_queued_on_it(
    tmp_path: Path, device: torch.device
) -> None:
    store = make_store(tmp_path / "s.zarr", shape=(8, 128, 96))
    expected = [batch.mri.sum().item() for batch in batches(tmp_path / "e.zarr", device, 30)]
    stream = open_stream(store, CONFIG, "train", shards=range(2), start_step=0, device=device)

    sums = []
    with closing(stream):
        for batch in islice(stream, 30):
            if device.type == "cuda":
                torch.cuda._sleep(20_000_000)  # the queue runs far behind the host
            sums.append(batch.mri.sum())

    assert [total.item() for total in sums] == expected
