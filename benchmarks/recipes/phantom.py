"""The frozen phantom that recipes are compared on: its store, and the name that stands in each row.

Scalp and orbital fat are the brightest of its MRIs, compact bone the darkest beside air; the skull
is thin at the temples and its marrow bright; sinuses lie beside dark bone; the coil has a bias
field. The reference recipe falls into contrast lock-in on it (`docs/recipe.md`).
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.manifest import read_manifest
from data_prep.datasets.split import SPLITS
from data_prep.phantom.settings import CohortOrigin, CohortSettings, read_origin
from data_prep.readers.nifti import read_nifti
from data_prep.store.store import Store, open_store
from mrct.storage.local_path import LocalPath

FROZEN = "f49d063acb57f80e"
"""Of the phantom that the committed rows were measured on: `phantom_hash`, where it was first made.

Other processors round some voxels by one, so it has another hash there. It is recognised by what it
was made of, and by the voxels in SAMPLE within one unit of its files.
"""
FROZEN_ORIGIN = CohortOrigin(seed=0, settings=CohortSettings(), version=1)
SAMPLE = Path("benchmarks/results/frozen_phantom.npz")
"""Of each scan, by its path in the cohort: voxels at even distances in the file's order."""
NUM_SAMPLED = 256
CONVERT = "--spacing-mm 3 2.4 2.4 --size 96 96"
"""As `examples/demo.py` does."""


def phantom(folder: LocalPath) -> Store:
    """The store under `folder`, made by the commands that a user would type where it is absent."""
    cohort, store = folder / "cohort", folder / "heads.zarr"
    if not (cohort / "manifest.csv").exists():
        command(f"data_prep phantom --out {cohort}")
    if not (store / "index.safetensors").exists():
        command(f"data_prep convert --manifest {cohort / 'manifest.csv'} --out {store} {CONVERT}")
    return open_store(store)


def command(words: str) -> None:
    """Run one of the project's commands; a failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", *words.split()], check=True)


def phantom_name(store: Store, cohort: Path) -> str:
    """`FROZEN` for the frozen phantom, whatever processor made it; else its hash.

    `cohort` is the folder that the store was converted from.
    """
    return FROZEN if is_frozen(cohort) else phantom_hash(store)


def is_frozen(cohort: Path, sample: Path = SAMPLE, origin: CohortOrigin = FROZEN_ORIGIN) -> bool:
    """Whether a cohort has the frozen one's generator, seed and settings, and its voxels."""
    if read_origin(cohort) != origin:
        return False
    expected = dict(np.load(sample))
    found = sampled_voxels(cohort)
    return found.keys() == expected.keys() and all(
        np.abs(found[name] - expected[name]).max() <= 1 for name in expected
    )


def sampled_voxels(cohort: Path) -> dict[str, NDArray[np.int32]]:
    """Voxels of each scan of a cohort, rounded, by its path."""
    found = {}
    for row in read_manifest(cohort / "manifest.csv"):
        voxels = read_nifti(row.path, modality=row.modality, pseudonym="").voxels.ravel()
        places = np.linspace(0, voxels.size - 1, NUM_SAMPLED).astype(np.intp)
        found[str(row.path.relative_to(cohort))] = np.rint(voxels[places]).astype(np.int32)
    return found


def phantom_hash(store: Store) -> str:
    """16 characters of the SHA-256 over all voxels and masks; names, which a key decides, aside."""
    volumes = sorted(
        hashlib.sha256(
            f"{modality} {split}".encode()
            + store.voxels(volume).tobytes()
            + store.body(volume).tobytes()
        ).hexdigest()
        for modality in ("mri", "ct")
        for split in SPLITS
        for volume in store.select(modality, split)
    )
    return hashlib.sha256("".join(volumes).encode()).hexdigest()[:16]
