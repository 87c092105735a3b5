"""The slices that `benchmarks.streaming` loads: one data set in every form that its loaders read.

Heads with noise, 256 x 256 int16: a sharded store of ours, the same slices as a plain array for
numpy, and a part of them as PNG for the seed's recipe, as .npy for MONAI and NIfTI for TorchIO.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from data_prep.store.history import rebuild_index
from data_prep.store.store import Store, open_store
from data_prep.store.writer import create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.storage.local_path import LocalPath
from tests.support.stores import SPACING_MM, prepared, random_head

SIZE = 256
MODELS = 4
"""Heads that are made; the volumes are these in turn, with noise of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """How much is made."""

    volumes: int
    """Of each domain."""
    depth: int
    num_files: int
    """Slices of each domain in the peers' forms."""


FULL = Amount(volumes=110, depth=160, num_files=1024)
"""35,200 slices, a little above 2 GiB on disk, and 4.6 GB more for numpy."""
SMALL = Amount(volumes=8, depth=64, num_files=256)


def make_slices(folder: LocalPath, amount: Amount) -> Store:
    """Write the store and the other forms, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.zarr"
    if not (folder / "files.json").exists():
        shutil.rmtree(path, ignore_errors=True)
        write_store(path, amount.volumes, amount.depth)
        write_files(folder, open_store(path), amount.num_files)
    return open_store(path)


def write_store(path: LocalPath, volumes: int, depth: int) -> None:
    """`volumes` of each domain."""
    random = np.random.default_rng(0)
    shape = (depth, SIZE, SIZE)
    create_store(path, spacing_mm=SPACING_MM, size=shape[1:], settings={"window_hu": WINDOW_HU})
    heads = [random_head(random, shape) for _ in range(min(MODELS, volumes))]
    noise = random.integers(-40, 41, 2 * depth * SIZE * SIZE).astype(np.int16)
    for number in range(volumes):
        model = heads[number % len(heads)]
        for place, modality in enumerate(("mri", "ct")):
            start = int(random.integers(depth * SIZE * SIZE))
            own = noise[start : start + depth * SIZE * SIZE].reshape(shape)
            low, high = (0, 32000) if modality == "mri" else (-1024, 3071)
            head = model | {modality: np.clip(model[modality] + own, low, high)}
            subject = f"{2 * number + place:016x}"
            write_volume(path, prepared(modality, subject, "train", head, SPACING_MM))
        print(f"\rvolume {number + 1} of {volumes}", end="", file=sys.stderr)
    print(file=sys.stderr)
    rebuild_index(path)


def write_files(folder: Path, store: Store, num_files: int) -> None:
    """All slices as one array, and files of the first `num_files` slices of each domain."""
    depths = [volume.shape[0] for volume in store.volumes]
    flat = np.lib.format.open_memmap(
        folder / "slices.npy", mode="w+", dtype=np.int16, shape=(sum(depths), SIZE, SIZE)
    )
    files: dict[str, int] = {"mri": 0, "ct": 0}
    for volume, end in zip(store.volumes, np.cumsum(depths), strict=True):
        voxels, body = store.voxels(volume), store.body(volume)
        flat[end - len(voxels) : end] = voxels
        if files[volume.modality] < num_files:
            write_volume_files(folder / volume.modality, files[volume.modality], voxels, body)
            files[volume.modality] += len(voxels)
    flat.flush()
    windows = {m: store.select(m, "train")[0].window for m in ("mri", "ct")}
    (folder / "files.json").write_text(json.dumps({"windows": windows}))


def write_volume_files(folder: Path, first: int, voxels: np.ndarray, body: np.ndarray) -> None:
    """One volume as NIfTI, and its slices as .npy and PNG."""
    folder.mkdir(exist_ok=True)
    for name, array in (("image", voxels), ("body", body)):
        # TorchIO and MONAI put x first.
        image = nibabel.Nifti1Image(array.T, np.diag([2.0, 2.0, 3.0, 1.0]))
        nibabel.save(image, folder / f"{name}{first:05d}.nii")
    low, high = np.percentile(voxels, [0.5, 99.5])
    for z, (pixels, mask) in enumerate(zip(voxels, body, strict=True), start=first):
        np.save(folder / f"{z:05d}.npy", np.stack([pixels, mask.astype(np.int16)]))
        grey = ((pixels - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{z:05d}.png")


def drop_from_cache(root: Path) -> None:
    """Make the next reads cold: ask the kernel to forget the files. No right of root is needed."""
    os.sync()
    for path in files_of(root):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def warm(root: Path) -> None:
    """Read the files once, so that they are in the page cache."""
    for path in files_of(root):
        with path.open("rb", buffering=0) as file:
            while file.read(2**24):
                pass


def files_of(root: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
