"""Claim: a split of any number of volumes is evaluated at a steady speed in the same memory.

20 pairs of 160 x 256 x 256 voxels (ellipsoid heads with skull and noise) through the whole
evaluation with a generator that costs nothing, so that the scores alone are measured: all paired
metrics of six methods, populations, edges, outlines, cycle. The largest memory of the last third
is held against that of the first.

    python -m benchmarks.evaluate [--pairs N] [--shape Z Y X] [--json FILE]
"""

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.inference.cycle import CycleNetworks
from data_prep.datasets.split import Split
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.store.history import rebuild_index
from data_prep.store.store import Store, open_store
from data_prep.store.writer import PreparedVolume, create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import robust_window
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid
from mrct.storage.local_path import LocalPath

SPACING_MM = (1.0, 1.0, 1.0)
SAMPLE_S = 0.1
Shape = tuple[int, int, int]


def head(random: np.random.Generator, shape: Shape) -> dict[Modality | str, NDArray]:
    """MRI, CT and body of an ellipsoid with scalp, skull, brain and a cavity."""
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    wide = random.uniform(0.75, 0.85)
    depth = np.sqrt(z[:, None, None] ** 2 / 1.5 + (y[:, None] ** 2 + x**2) / wide**2)
    cavity = np.hypot((y + 0.4) / 0.15, 1)[:, None] * np.abs(x / 0.1) < 1
    layers = [depth < 1, depth < 0.92, depth < 0.84, (depth < 0.84) & cavity]
    noise = random.standard_normal(shape, np.float32)
    ct, mri = np.full(shape, -1000, np.float32), np.zeros(shape, np.float32)
    for layer, hu, signal in zip(layers, (-90, 1100, 35, -1000), (900, 60, 500, 0), strict=True):
        ct[layer], mri[layer] = hu, signal
    return {
        "ct": (ct + 15 * noise).clip(*WINDOW_HU).astype(np.int16),
        "mri": np.abs(mri + 20 * noise).astype(np.int16),
        "body": depth < 1,
    }


def make_store(path: LocalPath, pairs: int, shape: Shape) -> Store:
    """Pairs to test on and two CTs to train on."""
    create_store(path, spacing_mm=SPACING_MM, size=shape[1:], settings={"window_hu": WINDOW_HU})
    random = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    for number in range(pairs + 2):
        scans, subject = head(random, shape), f"{number:016x}"
        split: Split = "test" if number < pairs else "train"
        kinds: list[Modality] = ["mri", "ct"] if split == "test" else ["ct"]
        for modality in kinds:
            other = "ct" if modality == "mri" else "mri"
            window = WINDOW_HU
            if modality == "mri":
                window = robust_window(scans["mri"], scans["body"])
            preprocessed = PreprocessedVolume(
                voxels=scans[modality],
                body=scans["body"],
                affine=affine,
                window=window,
                scale=1.0,
                source=Grid(shape=shape, affine=affine),
            )
            prepared = PreparedVolume(
                modality=modality,
                pseudonym=subject,
                subject=subject,
                split=split,
                link=f"{other}/{subject}" if split == "test" else None,
                source_sha256="0" * 64,
                preprocessed=preprocessed,
            )
            write_volume(path, prepared)
    rebuild_index(path)
    return open_store(path)


class MemoryWatch:
    """This process' resident memory over time."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def unchanged(self, images: Tensor) -> Tensor:
        """A generator that hands back what it gets: bright is dense."""
        self.calls.append(time.monotonic())
        return images

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(SAMPLE_S):
            self.samples.append((time.monotonic(), process.memory_info().rss / 2**30))

    def stop(self) -> None:
        """End watching."""
        self._over.set()
        self._thread.join()

    def peak_gib(self, start: float, end: float) -> float:
        """The largest memory between two moments."""
        return max(gib for at, gib in self.samples if start <= at <= end)


def main() -> None:
    """Evaluate, then print seconds a volume and the memory of its first and its last third."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--shape", type=int, nargs=3, default=(160, 256, 256))
    parser.add_argument("--json", type=Path)
    command = parser.parse_args()
    z, y, x = command.shape
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(LocalPath(folder) / "s.zarr", command.pairs, (z, y, x))
        watch = MemoryWatch()
        networks = CycleNetworks(to_ct=watch.unchanged, to_mri=watch.unchanged, contrast="plain")
        began = time.monotonic()
        scores = evaluate(networks, store, "test", options=ScoringOptions(threads=cores))
        took_s = time.monotonic() - began
        watch.stop()
    # Both ways in batches of 8 slices; the MRIs, which are the pairs, come first.
    starts = watch.calls[:: 2 * -(-z // 8)]
    third = max(1, command.pairs // 3)
    pairs_s = starts[command.pairs] - starts[0]
    first = watch.peak_gib(starts[0], starts[third])
    last = watch.peak_gib(starts[command.pairs - third], starts[command.pairs])
    print(
        f"{command.pairs} pairs of {z} x {y} x {x} on {cores} cores: {took_s:.0f} s in all; "
        f"{pairs_s / command.pairs:.1f} s a pair by {len(scores.methods)} methods"
    )
    print(f"peak memory, first third {first:.2f} GiB, last third {last:.2f} GiB: "
          f"ratio {last / first:.2f}")  # fmt: skip
    if command.json:
        found = {
            "pairs": command.pairs,
            "shape": [z, y, x],
            "cores": cores,
            "seconds": took_s,
            "seconds_per_pair": pairs_s / command.pairs,
            "first_third_gib": first,
            "last_third_gib": last,
        }
        command.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
