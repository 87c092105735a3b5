"""The loaders of others, as their users would write them; run in an environment of their own.

    python peers.py NAME FOLDER BATCH WORKERS SECONDS

prints one JSON line. It imports nothing of ours. All but the seed's give images and body masks of
both domains in [-1, 1], mirrored, turned by up to 15 degrees and scaled by 0.9 to 1.1. With -all in
the name, gamma, a bias field, blur and Rician noise change the MRI too, each in 15 % of the slices.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.transforms import (
    Compose,
    MapTransform,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlip,
    RandFlipd,
    RandGaussianSmoothd,
    RandRicianNoised,
    RandRotate,
    RandZoom,
    ScaleIntensity,
    ScaleIntensityRanged,
)
from torch.utils.data import DataLoader, Dataset

BOTH = ["image", "body"]
RADIANS = float(np.deg2rad(15))


class RandomPairs(Dataset[Any]):
    """Random samples of a data set per domain, without end."""

    def __init__(self, *domains: Any) -> None:
        self.domains = domains

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        random = np.random.default_rng(index)
        samples = [domain[int(random.integers(len(domain)))] for domain in self.domains]
        return [torch.as_tensor(np.asarray(image)) for sample in samples for image in sample]


class MappedList(Dataset[Any]):
    """A function of the items of a list."""

    def __init__(self, items: list[Any], function: Callable[[Any], Any]) -> None:
        self.items, self.function = items, function

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])


class LoadSlice(MapTransform):
    """A slice and its mask from a .npy file: [1, H, W] each."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        image, body = np.load(data["path"]).astype(np.float32)
        return {"image": image[None], "body": body[None]}


def random_transforms() -> list[Any]:
    """Return the random transforms, with one warp for all geometry."""
    return [
        RandFlipd(BOTH, prob=0.5, spatial_axis=1),
        RandAffined(
            BOTH,
            prob=1.0,
            rotate_range=RADIANS,
            scale_range=((-0.1, 0.1), (-0.1, 0.1)),
            mode=["bilinear", "nearest"],
            padding_mode="border",
        ),
    ]


def scanner_transforms() -> list[Any]:
    """Return the random changes of MRI intensity, in the ranges of our presets."""
    image, prob, pixels = ["image"], 0.15, (0.01, 0.5)  # 1 mm is half a pixel here
    return [
        RandAdjustContrastd(image, prob=prob, gamma=(0.8, 1.25)),
        RandBiasFieldd(image, prob=prob, coeff_range=(-0.1, 0.1)),
        RandGaussianSmoothd(image, prob=prob, sigma_x=pixels, sigma_y=pixels),
        RandRicianNoised(image, prob=prob, std=0.04),
    ]


def seed(folder: Path, windows: Any) -> Dataset[Any]:
    """The seed project: PNG, PIL, per-image min-max, MONAI transforms one by one, no masks."""
    from PIL import Image

    transform = Compose(
        [
            ScaleIntensity(minv=-1.0, maxv=1.0),
            RandRotate(range_x=RADIANS, prob=0.5),
            RandFlip(spatial_axis=1, prob=0.5),
            RandZoom(min_zoom=0.9, max_zoom=1.1, prob=0.5),
        ]
    )

    def one(path: Path) -> list[Any]:
        return [transform(np.array(Image.open(path).convert("L"), np.float32)[None])]

    return RandomPairs(*(MappedList(sorted((folder / m).glob("*.png")), one) for m in windows))


def monai(folder: Path, windows: Any, cached: Callable[..., Any], every: bool) -> Dataset[Any]:
    """MONAI dictionaries through one of its caching data sets."""
    domains = []
    for modality, window in windows.items():
        scale = ScaleIntensityRanged(["image"], *window, -1.0, 1.0, clip=True)
        items = [{"path": str(path)} for path in sorted((folder / modality).glob("*.npy"))]
        random = random_transforms() + (scanner_transforms() if every and modality == "mri" else [])
        domain = cached(items, Compose([LoadSlice(["path"]), scale, *random]))
        domains.append(MappedList(list(range(len(items))), ReadVolume(domain)))
    return RandomPairs(*domains)


class ReadVolume:
    """Image and mask of an item."""

    def __init__(self, domain: Any) -> None:
        self.domain = domain

    def __call__(self, index: int) -> list[Any]:
        sample = self.domain[index]
        return [sample[key] for key in BOTH]


def zarr_python(folder: Path, windows: Any) -> Dataset[Any]:
    """Slices of the sharded store by zarr-python, then MONAI."""
    import zarr

    opened: dict[Path, Any] = {}
    transform = {
        m: Compose(
            [ScaleIntensityRanged(["image"], *w, -1.0, 1.0, clip=True), *random_transforms()]
        )
        for m, w in windows.items()
    }

    def one(item: tuple[Path, int]) -> list[Any]:
        volume, z = item
        sample = {}
        for key, name in (("image", "0"), ("body", "labels/body/0")):
            path = volume / name
            if path not in opened:
                opened[path] = zarr.open_array(path, mode="r")
            sample[key] = np.asarray(opened[path][z], np.float32)[None]
        varied = transform[volume.parent.name](sample)
        return [varied[key] for key in BOTH]

    def slices(modality: str) -> list[tuple[Path, int]]:
        volumes = sorted((folder / "bench.zarr" / modality).glob("*/"))
        depth = zarr.open_array(volumes[0] / "0", mode="r").shape[0]
        return [(volume, z) for volume in volumes for z in range(depth)]

    return RandomPairs(*(MappedList(slices(m), one) for m in windows))


def torchio_queue(folder: Path, windows: Any, batch: int, workers: int) -> Iterator[Any]:
    """TorchIO: whole volumes are varied, then slices are cut from a queue; both domains mixed."""
    import torchio as tio

    subjects = [
        tio.Subject(
            image=tio.ScalarImage(path),
            body=tio.LabelMap(path.with_name(path.name.replace("image", "body"))),
        )
        for m in windows
        for path in sorted((folder / m).glob("image*.nii"))
    ]
    transform = tio.Compose(
        [
            tio.RescaleIntensity((-1, 1)),
            tio.RandomFlip(axes=(0,)),
            tio.RandomAffine(scales=(0.9, 1.1, 0.9, 1.1, 1, 1), degrees=(0, 0, 0, 0, -15, 15)),
        ]
    )
    size = subjects[0].image.shape[1:3]
    queue = tio.Queue(
        tio.SubjectsDataset(subjects, transform=transform),
        max_length=256,
        samples_per_volume=32,
        sampler=tio.data.UniformSampler((*size, 1)),
        num_workers=workers,
    )
    while True:
        # Batches of single slices: two of them make as many as a batch of pairs.
        for sample in tio.SubjectsLoader(queue, batch_size=2 * batch, num_workers=0):
            yield [sample["image"][tio.DATA]]


def batches(name: str, folder: Path, batch: int, workers: int) -> Iterator[Any]:
    """The batches of one loader; the first tensors' lengths count the slices."""
    windows = json.loads((folder / "files.json").read_text())["windows"]
    if name == "torchio":
        return torchio_queue(folder, windows, batch, workers)
    every = name.endswith("-all")
    dataset = {
        "seed": lambda: seed(folder, windows),
        "cache": lambda: monai(
            folder, windows, lambda items, t: CacheDataset(items, t, progress=False), every
        ),
        "persistent": lambda: monai(
            folder, windows, lambda items, t: PersistentDataset(items, t, tempfile.mkdtemp()), every
        ),
        "zarr": lambda: zarr_python(folder, windows),
    }[name.removesuffix("-all")]()
    # Forked: the workers share the cache. zarr-python has opened nothing that they would break.
    return iter(DataLoader(dataset, batch_size=batch, num_workers=workers))


def cpu_s() -> float:
    """Processor time of this process and its workers, which a busy machine hardly changes."""
    me = psutil.Process()
    each = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(sum(times[:4]) for times in each)  # of workers that have ended too


def main() -> None:
    """Warm up until the loader's own prefetching is through, then count slices."""
    name, folder, batch, workers, seconds = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:6]
    stream = batches(name, folder, int(batch), int(workers))
    torch.set_num_threads(1)
    for _ in range(2 * int(workers) + 1):
        next(stream)
    started, used_s, num_batches = time.perf_counter(), cpu_s(), 0
    while time.perf_counter() - started < float(seconds) or num_batches < 4:
        next(stream)
        num_batches += 1
    elapsed_s, slices = time.perf_counter() - started, num_batches * 2 * int(batch)
    figures = {"slices_per_s": slices / elapsed_s, "cpu_us": (cpu_s() - used_s) / slices * 1e6}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
