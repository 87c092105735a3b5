"""Record of a run's environment, data and grid: `environment.json` and `subjects.json`."""

import json
import os
from collections.abc import Sequence
from typing import Any

import torch

from cyclegan.config.run_location import ENVIRONMENT
from cyclegan.errors import ConfigError
from data_prep.store.store import Store
from data_prep.store.subject_record import read_subjects, subjects_of, write_subjects
from mrct.storage.paths import StoragePath


def record_environment(run_folder: StoragePath, store: Store, workers: int) -> None:
    """Write versions, hardware, and the store's grid and hashes; no host name, user or path."""
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


def record_subjects(run_folder: StoragePath, store: Store, start: StoragePath | None) -> None:
    """Write which subjects the run is shown, with those of the run of the checkpoint `start`, from
    which it began."""
    earlier = [read_subjects(start.parent.parent)] if start else []
    write_subjects(run_folder, subjects_of(store), read_subjects(run_folder), *earlier)


def require_same_grid(run_folder: StoragePath, store: Store) -> None:
    """Refuse a store whose voxel or slice size differs from the one a run was trained on.

    Raises:
        ConfigError: The sizes differ; the message contains a matching `convert` command.
    """
    run = read_environment(run_folder)
    if run is None or (list(store.spacing_mm), list(store.size)) == (
        run["spacing_mm"],
        run["size"],
    ):
        return
    raise ConfigError(
        "The store and the run differ in voxel size (z, y, x) or slice size (y, x):\n"
        f"  store  {grid_text(store.spacing_mm, store.size)}  {store.path.name}\n"
        f"  run    {grid_text(run['spacing_mm'], run['size'])}  {run_folder.name}\n"
        "The generators would mistake the change of scale for contrast. Convert to the same grid:\n"
        "  python -m data_prep convert --mri MRI --ct CT --out OTHER.zarr "
        f"--spacing-mm {' '.join(f'{mm:g}' for mm in run['spacing_mm'])} "
        f"--size {' '.join(map(str, run['size']))}"
    )


def require_same_data(run_folder: StoragePath, store: Store) -> None:
    """Refuse to resume a run on volumes or splits other than those it started with.

    Raises:
        ConfigError: They differ, so a training subject could have moved to the test split.
    """
    require_same_grid(run_folder, store)
    run = read_environment(run_folder)
    if run is not None and run["store_contents"] != store.contents:
        raise ConfigError(
            f"Run {run_folder.name} started with other volumes or splits (index "
            f"{run['store_contents']}) than {store.path.name} has now ({store.contents}). Its "
            "steps, scores and best checkpoint would mix two data sets. Use the store that it "
            "started with, or start a new run: --run.name NAME."
        )


def require_same_preprocessing(run_folder: StoragePath, store: Store) -> str:
    """Refuse a store whose preprocessing differs from that of the store a run was trained on.

    Returns:
        The hash of the volumes and splits that the run was trained on.

    Raises:
        ConfigError: The preprocessing differs, so scans would not look as they did in training.
    """
    require_same_grid(run_folder, store)
    run = read_environment(run_folder) or {}
    if run.get("store_fingerprint", store.fingerprint) != store.fingerprint:
        raise ConfigError(
            f"Store {store.path.name} was converted with another preprocessing "
            f"({store.fingerprint}) than the store that run {run_folder.name} was trained on "
            f"({run['store_fingerprint']}): a model would preprocess scans differently than in its "
            "training. Give that store, or one with the same preprocessing, with --store."
        )
    return str(run.get("store_contents", store.contents))


def read_environment(run_folder: StoragePath) -> dict[str, Any] | None:
    """Read the record of a run, or return None if it has not started."""
    path = run_folder / ENVIRONMENT
    if not path.exists():
        return None
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def grid_text(spacing_mm: Sequence[float], size: Sequence[int]) -> str:
    """Format voxel size and slice size in one line."""
    return f"{' x '.join(f'{mm:.2f}' for mm in spacing_mm)} mm, {' x '.join(map(str, size))}"
