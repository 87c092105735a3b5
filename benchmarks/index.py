"""Claim: 100,000 volumes open as fast as 10.

Synthetic stores without voxels: commit records of volumes with 60 slices each, their index and the
root attributes. The other side is what an index in JSON costs, hash and parsing included, which is
what this project had before. Each figure is the best of several in a process of its own.

    python -m benchmarks.index
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from data_prep.datasets.split import SPLITS
from data_prep.store.commits import seal
from data_prep.store.history import index_of
from data_prep.store.index import INDEX
from data_prep.store.store import open_store
from data_prep.store.writer import create_store
from mrct.storage.local_path import LocalPath

VOLUMES = (10, 1_000, 100_000)
SLICES = 60
REPEATS = 5


def records(count: int) -> Iterator[dict[str, Any]]:
    """Commit records as `write_result` makes them, of volumes that were never written."""
    random.seed(count)
    outline = np.random.default_rng(0).integers(0, 256, (SLICES, 3)).tolist()
    for number in range(count):
        modality = ("mri", "ct")[number % 2]
        volume = {
            "name": f"{modality}/{random.getrandbits(64):016x}",
            "modality": modality,
            "kind": "unknown",
            "subject": f"{random.getrandbits(64):016x}",
            "split": random.choices(SPLITS, (8, 1, 1))[0],
            "link": None,
            "shape": [SLICES, 256, 256],
            "affine": np.diag([-1, -1, 3, 1.0]).tolist(),
            "window": [-1024.0, 3071.0],
            "scale": 1.0,
            "offset": 0.0,
            "body_fraction": [round(random.random(), 4) for _ in range(SLICES)],
            "outline": outline,
            "lowest": 0.0,
            "highest": SLICES - 1.0,
            "deviation": [0.5] * SLICES,
            "source_shape": [160, 512, 512],
            "source_affine": np.diag([-0.5, -0.5, 1, 1.0]).tolist(),
        }
        yield {"volume": volume, "files": {"0/c/0/0/0": {"bytes": 4_000_000, "sha256": ""}}}


def make_store(path: LocalPath, count: int) -> LocalPath:
    """A store of `count` volumes for those who do not read voxels, and a JSON index beside it."""
    create_store(path, spacing_mm=(3, 1, 1), size=(256, 256), settings={})
    made = list(records(count))
    (path / INDEX).write_bytes(index_of(made))
    (path / "index.json").write_bytes(seal({"volumes": [record["volume"] for record in made]}))
    return path


def measure(path: LocalPath) -> dict[str, float]:
    """Milliseconds of each step, the best of several."""
    store = open_store(path)
    chosen = store.select("mri", "train")
    return {
        "open": best_ms(lambda: open_store(path)),
        "open and select": best_ms(lambda: len(open_store(path).select("mri", "train"))),
        "and its first volume": best_ms(lambda: open_store(path).select("mri", "train")[0]),
        "all volumes of it": best_ms(lambda: list(chosen)),
        "JSON index": best_ms(lambda: seal(json.loads((path / "index.json").read_bytes()))),
    }


def best_ms(run: Callable[[], object]) -> float:
    """The shortest of several runs in milliseconds."""
    took_s = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        took_s.append(time.perf_counter() - started)
    return min(took_s) * 1000


def main() -> None:
    """Print a row per number of volumes."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(LocalPath(sys.argv[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for count in VOLUMES:
            path = make_store(LocalPath(folder) / f"{count}.zarr", count)
            command = [sys.executable, "-m", "benchmarks.index", str(path)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            figures = "  ".join(f"{name} {ms:.2f} ms" for name, ms in json.loads(output).items())
            size_mb = (path / INDEX).stat().st_size / 1e6
            print(f"{count:7,} volumes, index {size_mb:.2f} MB:  {figures}", flush=True)


if __name__ == "__main__":
    main()
