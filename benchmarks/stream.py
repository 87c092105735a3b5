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
from data_prep.store import BODY, IMAGE, open_store
from data_prep.volume import Modality
from tests.stores import make_store

BATCH = 16
CORES = len(os.sched_getaffinity(0))
TIMED = 6
WAITING = 2 * CORES + 1
"""Batches that a loader may hold ready: DataLoader's prefetch factor is 2, the stream keeps 2."""


class UsualSlices(Dataset[tuple[Tensor, ...]]):
    """A random MRI and CT slice with their masks, as a MONAI user would load them."""

    def __init__(self, path: Path, data: DataConfig) -> None:
        self.path = path
        self.store = open_store(path)
        self.opened: dict[tuple[str, str], Any] = {}
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

    def array(self, name: str, array: str) -> Any:
        """An array of the store, opened once in each worker."""
        if (name, array) not in self.opened:
            self.opened[name, array] = zarr.open_array(self.path / name / array, mode="r")
        return self.opened[name, array]

    def one(self, modality: Modality, random: np.random.Generator) -> tuple[Tensor, ...]:
        volumes = self.store.select(modality, "train")
        volume = volumes[random.integers(len(volumes))]
        z = random.integers(volume.shape[0])
        sample: dict[str, Any] = {
            "image": np.asarray(self.array(volume.name, IMAGE)[z], np.float32)[None],
            "body": np.asarray(self.array(volume.name, BODY)[z], np.float32)[None],
        }
        scale = ScaleIntensityRanged(["image"], *volume.window, -1.0, 1.0, clip=True)
        varied = scale(self.vary(sample))
        return varied["image"].as_tensor(), varied["body"].as_tensor()


def slices_per_s(batches: Iterator[Any]) -> float:
    """Slices a second, after the batches that were made while nobody asked are through."""
    for _ in islice(batches, WAITING):
        pass
    started = time.perf_counter()
    for _ in islice(batches, TIMED):
        pass
    return TIMED * BATCH * 2 / (time.perf_counter() - started)


def main() -> None:
    """Measure both in turns, so that a busy machine slows both, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loader")
    options = parser.parse_args()
    data = DataConfig(min_body_fraction=0, cache_gib=0.0, threads=CORES)
    config = Config(data=data, batch=BatchConfig(shards=1, shard_size=BATCH))
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        shape = (32, options.size, options.size)
        store = make_store(Path(folder) / "bench.zarr", mri=4, ct=4, shape=shape)
        loader = DataLoader(
            UsualSlices(store.path, data),
            batch_size=BATCH,
            num_workers=CORES,
            multiprocessing_context="spawn",  # zarr-python cannot be forked
        )
        usual = iter(loader)
        stream = open_stream(store, config, "train", shards=range(1), start_step=0, device=cpu)
        with closing(stream):
            rounds = [(slices_per_s(stream), slices_per_s(usual)) for _ in range(options.rounds)]
    fast, slow = np.array(rounds).T
    side = f"{options.size} x {options.size}, {CORES} cores, load {os.getloadavg()[0]:.1f}"
    print(f"slices with masks per second, varied and normalised; {side}")
    print(f"median (lowest to highest) of {options.rounds} rounds in turns:")
    for label, values in [
        ("this stream (tensorstore + DALI)", fast),
        ("zarr-python + MONAI, torch DataLoader", slow),
        ("ratio, round by round", fast / slow),
    ]:
        print(f"  {label:40}{np.median(values):8.1f} ({values.min():.1f} to {values.max():.1f})")


if __name__ == "__main__":
    main()
