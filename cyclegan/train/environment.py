"""`environment.json` of a run: what its numbers were made with, and on which grid."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from cyclegan.errors import ConfigError
from data_prep.atomic import write_atomic
from data_prep.store import Store

ENVIRONMENT = "environment.json"


def record_environment(run_folder: Path, store: Store, workers: int) -> None:
    """Write versions, hardware and the store's grid; no host name, user or path."""
    facts = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cpus": os.cpu_count(),
        "workers": workers,
        "spacing_mm": store.spacing_mm,
        "size": store.size,
        "store_fingerprint": store.fingerprint,
    }
    write_atomic(run_folder / ENVIRONMENT, json.dumps(facts, indent=1).encode())


def require_same_grid(run_folder: Path, store: Store) -> None:
    """Refuse a store whose voxels or slices are not of the size that a run was trained on.

    Raises:
        ConfigError: They differ; with the command that converts alike.
    """
    path = run_folder / ENVIRONMENT
    if not path.exists():  # the run has not begun
        return
    run = json.loads(path.read_text())
    if (store.spacing_mm, store.size) == (tuple(run["spacing_mm"]), tuple(run["size"])):
        return
    raise ConfigError(
        "the store and the run have different voxels (z, y, x) or slices (y, x):\n"
        f"  store  {grid_text(store.spacing_mm, store.size)}  {store.path.name}\n"
        f"  run    {grid_text(run['spacing_mm'], run['size'])}  {run_folder.name}\n"
        "The translators would take the zoom for contrast. Convert alike, e.g.\n"
        "  python -m data_prep convert --mri MRI --ct CT --out OTHER.zarr "
        f"--spacing-mm {' '.join(f'{mm:g}' for mm in run['spacing_mm'])} "
        f"--size {' '.join(map(str, run['size']))}"
    )


def grid_text(spacing_mm: Sequence[float], size: Sequence[int]) -> str:
    """Voxel and slice size in one line."""
    return f"{' x '.join(f'{mm:.2f}' for mm in spacing_mm)} mm, {' x '.join(map(str, size))}"
