"""The frozen phantom that recipes are compared on: its store, and the hash that stands in each row.

Scalp and orbital fat are the brightest of its MRIs, compact bone the darkest beside air; the skull
is thin at the temples and its marrow bright; sinuses lie beside dark bone; the coil has a bias
field. The reference recipe falls into contrast lock-in on it (`docs/recipe.md`).
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from data_prep.split import SPLITS
from data_prep.store import Store, open_store

FROZEN = "b8121759fe8560ce"
"""`phantom_hash` of the store that the committed rows were measured on."""
CONVERT = "--spacing-mm 3 2.4 2.4 --size 96 96"
"""As `demo.py` does."""


def phantom(folder: Path) -> Store:
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
