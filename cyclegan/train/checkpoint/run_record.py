"""`environment.json` of a run: what its numbers were made with, and on which grid."""

import json
import os
from collections.abc import Sequence
from typing import Any

import torch

from cyclegan.errors import ConfigError
from data_prep.store.store import Store
from mrct.storage.paths import StoragePath

ENVIRONMENT = "environment.json"


def record_environment(run_folder: StoragePath, store: Store, workers: int) -> None:
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
        "store_contents": store.contents,
    }
    (run_folder / ENVIRONMENT).put(json.dumps(facts, indent=1).encode())


def require_same_grid(run_folder: StoragePath, store: Store) -> None:
    """Refuse a store whose voxels or slices are not of the size that a run was trained on.

    Raises:
        ConfigError: They differ; with the command that converts alike.
    """
    run = recorded(run_folder)
    if run is None or (list(store.spacing_mm), list(store.size)) == (
        run["spacing_mm"],
        run["size"],
    ):
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


def require_same_data(run_folder: StoragePath, store: Store) -> None:
    """Refuse to go on with a run on other volumes or other splits than it began with.

    Raises:
        ConfigError: They differ; a subject that was trained on could now be tested on.
    """
    require_same_grid(run_folder, store)
    run = recorded(run_folder)
    if run is not None and run["store_contents"] != store.contents:
        raise ConfigError(
            f"the run {run_folder.name} began with other volumes or splits (index "
            f"{run['store_contents']}) than {store.path.name} has now ({store.contents}). Its "
            "steps, scores and best checkpoint would mix two data sets. Give it the store that it "
            "began with, or name a new run: --run.name NAME."
        )


def require_same_preprocessing(run_folder: StoragePath, store: Store) -> str:
    """Refuse a store that was not made as the one that a run was trained on; returns the hash of
    that one's volumes and splits.

    Raises:
        ConfigError: Its recipe would prepare a patient's scan in another way than the networks saw.
    """
    require_same_grid(run_folder, store)
    run = recorded(run_folder) or {}
    if run.get("store_fingerprint", store.fingerprint) != store.fingerprint:
        raise ConfigError(
            f"{store.path.name} was made with another preprocessing ({store.fingerprint}) than the "
            f"store that the run {run_folder.name} was trained on ({run['store_fingerprint']}): a "
            "model would prepare scans in another way than it learned. Name that store, or one "
            "that was converted alike, with --store."
        )
    return str(run.get("store_contents", store.contents))


def recorded(run_folder: StoragePath) -> dict[str, Any] | None:
    """What a run wrote down; None where it has not begun."""
    path = run_folder / ENVIRONMENT
    if not path.exists():
        return None
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def grid_text(spacing_mm: Sequence[float], size: Sequence[int]) -> str:
    """Voxel and slice size in one line."""
    return f"{' x '.join(f'{mm:.2f}' for mm in spacing_mm)} mm, {' x '.join(map(str, size))}"
