"""Claim: the stream of batches outruns the usual loader, zarr-python + MONAI in a torch DataLoader.

Both read the same store, show random slices of both domains with their masks, mirrored, turned,
zoomed, shifted and normalised, on all cores. Run it: python -m benchmarks.stream
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from monai.transforms import Compose, RandAffined, RandFlipd, ScaleIntensityRanged
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan.config import BatchConfig, Config, DataConfig
from cyclegan.data.stream import open_stream
from data_prep.store import BODY, IMAGE, Store, open_store
from data_prep.volume import Modality
from tests.stores import make_store

BATCH = 16
CORES = len(os.sched_getaffinity(0))


class UsualSlices(Dataset[tuple[Tensor, ...]]):
    """A random MRI and CT slice with their masks, as a MONAI user would load them."""

    def __init__(self, path: Path, data: DataConfig) -> None:
        self.path = path
        self.store = open_store(path)
        share = data.translate_fraction * self.store.size[0]
        both = ["image", "body"]
        self.vary = Compose(
            [
                RandFlipd(both, prob=0.5, spatial_axis=1),
                RandAffined(
                    both,
                    prob=1.0,
                    rotate_range=np.deg2rad(data.rotate_degrees),
                    scale_range=((data.zoom[0] - 1, data.zoom[1] - 1),) * 2,
                    translate_range=share,
                    mode=["bilinear", "nearest"],
                    padding_mode="border",
                ),
            ]
        )

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        random = np.random.default_rng(index)
        return self.one("mri", random) + self.one("ct", random)

    def one(self, modality: Modality, random: np.random.Generator) -> tuple[Tensor, ...]:
        volumes = self.store.select(modality, "train")
        volume = volumes[random.integers(len(volumes))]
        z = random.integers(volume.shape[0])
        group = zarr.open_group(self.path / volume.name, mode="r")
        sample: dict[str, Any] = {
            "image": np.asarray(group[IMAGE][z], np.float32)[None],
            "body": np.asarray(group[BODY][z], np.float32)[None],
        }
        scale = ScaleIntensityRanged(["image"], *volume.window, -1.0, 1.0, clip=True)
        varied = scale(self.vary(sample))
        return varied["image"].as_tensor(), varied["body"].as_tensor()


def pairs_per_s(batches: Iterator[Any], num_batches: int) -> float:
    """Slice pairs a second once the first batches are through."""
    for _ in islice(batches, 4):
        pass
    started = time.perf_counter()
    for _ in islice(batches, num_batches):
        pass
    return num_batches * BATCH / (time.perf_counter() - started)


def ours(store: Store, data: DataConfig, num_batches: int) -> float:
    """The stream on the CPU."""
    config = Config(data=data, batch=BatchConfig(shards=1, shard_size=BATCH))
    stream = open_stream(
        store, config, "train", shards=range(1), start_step=0, device=torch.device("cpu")
    )
    with closing(stream):
        return pairs_per_s(stream, num_batches)


def usual(store: Store, data: DataConfig, num_batches: int) -> float:
    """The DataLoader, one worker process per core; zarr-python cannot be forked."""
    loader = DataLoader(
        UsualSlices(store.path, data),
        batch_size=BATCH,
        num_workers=CORES,
        multiprocessing_context="spawn",
    )
    return pairs_per_s(iter(loader), num_batches)


def main() -> None:
    """Measure both on one store and print them beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--batches", type=int, default=30, help=f"batches of {BATCH} pairs")
    options = parser.parse_args()
    data = DataConfig(min_body_fraction=0, cache_gib=0.0, threads=CORES)
    with tempfile.TemporaryDirectory() as folder:
        shape = (32, options.size, options.size)
        store = make_store(Path(folder) / "bench.zarr", mri=4, ct=4, shape=shape)
        fast = ours(store, data, options.batches)
        slow = usual(store, data, max(4, options.batches // 4))
    side = f"{options.size} x {options.size}, {CORES} cores"
    print(f"slices with masks per second, {side}, both domains, varied and normalised:")
    print(f"  this stream (tensorstore + DALI)           {2 * fast:8.0f}")
    print(f"  zarr-python + MONAI, torch DataLoader      {2 * slow:8.0f}")
    print(f"  ratio                                      {fast / slow:8.1f}")


if __name__ == "__main__":
    main()
