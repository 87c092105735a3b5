"""Record of a run's environment, data and grid: `environment.json` and `subjects.json`."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch

from cyclegan.config.run_location import ENVIRONMENT
from cyclegan.contrast.table_file import TABLE_FILE, KeptTable, read_table
from cyclegan.errors import ConfigError, TableError
from data_prep.preprocess.height_axis import IN_EACH_FIELD_OF_VIEW, HeightAxis
from data_prep.store.heights import HEIGHTS_FILE, axis_content, read_heights
from data_prep.store.history import as_of
from data_prep.store.store import Store
from data_prep.store.subject_record import (
    SUBJECTS_FILE,
    SubjectRecord,
    read_subjects,
    subjects_of,
    write_subjects,
)
from mrct.errors import StoreError
from mrct.storage.damaged import set_aside
from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath

UNKNOWN_CONTENTS = "unknown"
"""In place of the hash of a run's volumes and splits, if its record is damaged."""


def record_environment(run_folder: StoragePath, store: Store, workers: int) -> None:
    """Write versions, hardware, and the store's grid and hashes; no host name, user or path.

    The axis of the store's heights is copied beside it. A damaged record is kept under another
    name.
    """
    path = run_folder / ENVIRONMENT
    if read_environment(run_folder) == {}:
        set_aside(
            path,
            path.read_bytes(),
            "whether the store is the one that the run began with cannot be checked",
        )
    facts = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cpus": os.cpu_count(),
        "workers": workers,
        "spacing_mm": store.spacing_mm,
        "size": store.size,
        "preprocessing": store.preprocessing.version,
        "store_fingerprint": store.fingerprint,
        "store_contents": store.contents,
        "height_axis": store.axis.sha256,
    }
    (run_folder / HEIGHTS_FILE).put(axis_content(store.axis))
    path.put(json.dumps(facts, indent=1).encode())


def record_subjects(
    run_folder: StoragePath,
    store: Store,
    start: StoragePath | None,
    of_source: Iterable[SubjectRecord] = (),
) -> None:
    """Write which subjects the run is shown, with those of the run of the checkpoint `start`, from
    which it began, and of the source of its first weights."""
    own = run_folder / SUBJECTS_FILE
    if own.exists() and not read_subjects(run_folder):
        set_aside(own, own.read_bytes(), "subjects of earlier stores of this run are not known")
    earlier = [read_subjects(start.parent.parent)] if start else []
    write_subjects(run_folder, subjects_of(store), read_subjects(run_folder), *of_source, *earlier)


def require_same_grid(run_folder: StoragePath, store: Store) -> None:
    """Refuse a store whose voxel or slice size, or the version of whose preprocessing, differs from
    the one a run was trained on.

    Raises:
        ConfigError: The sizes differ; the message contains a matching `convert` command. Or the run
            is of another version, to which MRIs and depths of this one look otherwise.
    """
    run = read_environment(run_folder)
    if run and (trained := run.get("preprocessing")) != store.preprocessing.version:
        raise ConfigError(
            f"Run {run_folder.name} was trained on preprocessing {trained or 'of before 6'}, and "
            f"{store.path.name} is of {store.preprocessing.version}: the generators would see MRIs "
            "and depths on another scale than they learned. Use the version of this project that "
            "trained them, or train again."
        )
    if not run or (list(store.spacing_mm), list(store.size)) == (
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


def store_of_run(run_folder: StoragePath, store: Store, contents: str | None = None) -> Store:
    """Return the store with the volumes that a run began with; those added since are left out.

    Args:
        run_folder: Folder of the run; if the run has not begun, it begins with all volumes.
        store: Store of the run, as it is now.
        contents: Hash of the volumes and splits of the search that the run belongs to, if it does.

    Raises:
        ConfigError: Volumes or splits that the run began with were changed or removed, so that a
            training subject could have moved to the test split; or its axis of heights is another;
            or it is another store.
    """
    require_same_grid(run_folder, store)
    if _axis_hash(run_folder) not in (None, store.axis.sha256):
        raise ConfigError(
            f"Run {run_folder.name} started with another axis of heights than {store.path.name} "
            "has now: it was fitted when a later conversion had ended, or again (`data_prep "
            "heights --refit`, or a subject was removed), or it is another store. Slices would lie "
            "at other heights than those that the run has learned. Use the store that it started "
            "with, or start a new run: --run.name NAME."
        )
    run = read_environment(run_folder)
    recorded = run["store_contents"] if run else None
    wanted = recorded or contents or store.contents
    is_same = not run or (
        run["store_fingerprint"] == store.fingerprint and contents in (None, recorded)
    )
    if is_same and (earlier := as_of(store, wanted)):
        return earlier
    raise ConfigError(
        f"Run {run_folder.name} started with other volumes or splits (index {wanted}) than "
        f"{store.path.name} has now ({store.contents}), and they are not all among these. Its "
        "steps, scores and best checkpoint would mix two data sets. Use the store that it started "
        "with, or start a new run: --run.name NAME."
    )


def table_of_run(run_folder: StoragePath) -> KeptTable | None:
    """Read the contrast table of a run; None if it has none.

    Raises:
        TableError: It is damaged, or was fitted to other volumes than those of the run.
    """
    kept, run = read_table(run_folder / TABLE_FILE), read_environment(run_folder)
    if (
        kept
        and run
        and (kept.store_fingerprint, kept.store_contents)
        != (run["store_fingerprint"], run["store_contents"])
    ):
        raise TableError(
            f"{run_folder / TABLE_FILE} was fitted to other volumes than those of this run. Fit it "
            f"to them: python -m cyclegan.contrast {run_folder} --overwrite"
        )
    return kept


def axis_of_run(run_folder: StoragePath, store: Store) -> HeightAxis:
    """Return the axis of the heights that a run has learned.

    It is that of `store` if the run has not begun, or if neither its record nor its copy of the
    axis can be read.

    Raises:
        ConfigError: The run's copy of an axis that the store does not have is missing or damaged.
    """
    sha256 = _axis_hash(run_folder)
    for axis in (store.axis, IN_EACH_FIELD_OF_VIEW):
        if sha256 in (None, axis.sha256):
            return axis
    try:
        kept, found = read_heights(run_folder), "is missing, or of another run"
    except StoreError:
        kept, found = None, "is damaged"
    if kept is None or kept.axis.sha256 != sha256:
        raise ConfigError(
            f"{run_folder / HEIGHTS_FILE}, the axis of the heights that the run has learned, "
            f"{found}, and {store.path.name} has another one. Restore the file from a copy, or "
            "give the store that the run was trained on, as it was then."
        )
    return kept.axis


def require_same_axis(run_folder: StoragePath, store: Store) -> None:
    """Refuse to continue with all of a run's checkpoint on a store with another axis of heights.

    Raises:
        ConfigError: The axes differ.
    """
    if _axis_hash(run_folder) not in (None, store.axis.sha256):
        raise ConfigError(
            f"Run {run_folder.name} has learned heights on another axis than that of "
            f"{store.path.name}: its slices would lie elsewhere. Use the store that it was trained "
            "on, or take its weights alone (--train.init) and let the generators learn the heights "
            "of this one."
        )


def _axis_hash(run_folder: StoragePath) -> str | None:
    """Return the hash of the axis that a run has learned, from its copy if the record is damaged;
    None if the run has not begun, or nothing tells."""
    run = read_environment(run_folder)
    if run:  # runs from before there were axes have none
        return str(run.get("height_axis", IN_EACH_FIELD_OF_VIEW.sha256))
    with suppress(StoreError):
        kept = None if run is None else read_heights(run_folder)
        return kept.axis.sha256 if kept else None
    return None


def require_same_preprocessing(run_folder: StoragePath, store: Store) -> str:
    """Refuse a store whose preprocessing differs from that of the store a run was trained on.

    Returns:
        The hash of the volumes and splits that the run was trained on, UNKNOWN_CONTENTS if
        its record is damaged.

    Raises:
        ConfigError: The preprocessing differs, so scans would not look as they did in training.
    """
    require_same_grid(run_folder, store)
    run = read_environment(run_folder)
    if run == {}:
        print(
            f"warning: {run_folder / ENVIRONMENT} is damaged: whether the run was trained on "
            f"{store.path.name} cannot be checked.",
            file=sys.stderr,
        )
        return UNKNOWN_CONTENTS
    if run is None:
        return store.contents
    if run["store_fingerprint"] != store.fingerprint:
        raise ConfigError(
            f"Store {store.path.name} was converted with another preprocessing "
            f"({store.fingerprint}) than the store that run {run_folder.name} was trained on "
            f"({run['store_fingerprint']}): a model would preprocess scans differently than in its "
            "training. Give that store, or one with the same preprocessing, with --store."
        )
    return str(run["store_contents"])


def read_environment(run_folder: StoragePath) -> dict[str, Any] | None:
    """Read the record of a run; None if it has not started, {} if the record is damaged."""
    path = run_folder / ENVIRONMENT
    if not path.exists():
        return None
    try:
        facts: dict[str, Any] = parse_json(path.read_bytes())
        grid = [*facts["spacing_mm"], *facts["size"]]
        hashes = (facts["store_fingerprint"], facts["store_contents"])
        is_sound = len(grid) == 5 and all(isinstance(n, int | float) for n in grid)
        return facts if is_sound and all(isinstance(each, str) for each in hashes) else {}
    except (ValueError, KeyError, TypeError):
        return {}


def grid_text(spacing_mm: Sequence[float], size: Sequence[int]) -> str:
    """Format voxel size and slice size in one line."""
    return f"{spacing_text(spacing_mm)}, {' x '.join(map(str, size))}"


def spacing_text(spacing_mm: Sequence[float]) -> str:
    """Format a voxel size."""
    return f"{' x '.join(f'{mm:.2f}' for mm in spacing_mm)} mm"
