"""Open a checkpoint of a run or an exported model for scoring."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cyclegan.config.config import Config
from cyclegan.config.files import config_hash, load_config
from cyclegan.config.run_location import store_moves_explained
from cyclegan.contrast.table_file import KeptTable
from cyclegan.data.stream import steps_per_epoch
from cyclegan.errors import CheckpointError
from cyclegan.evaluate.score_table import BASELINES
from cyclegan.export.model_folder import SUMS, is_of_both, model_folder_of, read_model
from cyclegan.export.seen import SeenScans, Training, seen_line
from cyclegan.inference.cycle import GENERATOR, CycleNetworks
from cyclegan.train.checkpoint.checkpoint import (
    FILE_HASHES,
    best_checkpoint,
    load_generators,
    results_folder,
)
from cyclegan.train.checkpoint.run_record import (
    axis_of_run,
    read_environment,
    require_same_grid,
    table_of_run,
)
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from data_prep.store.history import as_of
from data_prep.store.store import Store, open_store
from mrct.errors import UsageError
from mrct.storage.local_path import sha256_of
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUnderTest:
    """A generator to score, ready to run."""

    name: str
    networks: CycleNetworks
    facts: dict[str, str] = field(default_factory=dict)
    """Facts shown at the top of the report: run, checkpoint, preset."""
    seen_line: str = ""
    """One line: what the model was trained on, and for how long."""
    sha256: str = ""
    """SHA-256 of the list of hashes of all files of the model."""
    table: KeptTable | None = None
    """The contrast table of the run; None if it has none, and for an exported model."""
    records: list[dict[str, Any]] | None = None
    """Lines of the run's metrics.jsonl; None for an exported model."""
    folder: Path = Path()
    """Default parent of the folder of results."""
    suffix: str = ""
    """Suffix of the name of that folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointLocation:
    """A checkpoint and the run that it belongs to."""

    run_folder: StoragePath
    checkpoint: StoragePath
    config: Config


def locate_checkpoint(path: StoragePath) -> CheckpointLocation:
    """Return the checkpoint to score: the best of a run, or the one given.

    Raises:
        UsageError: `path` is neither a run nor a checkpoint.
        CheckpointError: The run has no checkpoint yet.
    """
    if (path / "config.yaml").exists():
        checkpoint = best_checkpoint(path)
        if checkpoint is None:
            raise CheckpointError(
                f"The run {path} has no checkpoint yet, so there is nothing to score. Let it reach "
                "its first one (schedule.save_every), or continue training."
            )
        return CheckpointLocation(
            run_folder=path, checkpoint=checkpoint, config=load_config(path / "config.yaml")
        )
    run_folder = path.absolute().parent.parent
    if (run_folder / "config.yaml").exists():
        config = load_config(run_folder / "config.yaml")
        return CheckpointLocation(run_folder=run_folder, checkpoint=path, config=config)
    raise UsageError(
        f"{path} is neither a run nor a checkpoint nor an exported model: there is no config.yaml "
        f"in it, nor two folders above, and no {SUMS}. Give the folder RUNS/NAME that `python -m "
        "cyclegan.train` printed, or a model_to_ct folder."
    )


def store_for(path: StoragePath, named: StoragePath | None) -> Store:
    """Open the given store, else that of the run.

    Raises:
        UsageError: No store was given, and an exported model has none.
    """
    if named is not None:
        return open_store(named)
    if exported_model_at(path):
        raise UsageError(
            f"{path} is an exported model, which does not record a store to score it on. Give one "
            "with --store."
        )
    config = locate_checkpoint(path).config
    with store_moves_explained(config, "--store"):
        return open_store(config.store)


def open_model_under_test(
    path: StoragePath, store: Store, device: torch.device | str = "cpu", batch_size: int = 8
) -> ModelUnderTest:
    """Open a run, a checkpoint or a model folder to be scored on `store`.

    Raises:
        UserError: `path` is none of these, makes no CT, or was trained on another grid.
    """
    if model := exported_model_at(path):
        return _exported(model, store, device, batch_size)
    found = locate_checkpoint(path)
    require_same_grid(found.run_folder, store)
    config = found.config
    to_ct, to_mri = load_generators(found.checkpoint, config)
    networks = (to_ct.to(device), to_mri.to(device))
    return ModelUnderTest(
        name=f"{config.run.name}, {found.checkpoint.name}",
        networks=replace(
            CycleNetworks.trained(networks, config.data, device, batch_size),
            axis=axis_of_run(found.run_folder, store),
        ),
        facts={
            "run": config.run.name,
            "checkpoint": found.checkpoint.name,
            "preset": config.preset,
            "config": config_hash(config)[:8],
        },
        seen_line=_seen_line(found, store),
        sha256=(found.checkpoint / FILE_HASHES).sha256(),
        table=table_of_run(found.run_folder),
        records=read_lines(found.run_folder / METRICS),
        folder=results_folder(found.run_folder, ""),
        suffix="" if path == found.run_folder else f"_{found.checkpoint.name}",
    )


def with_unique_names(models: Sequence[ModelUnderTest]) -> list[ModelUnderTest]:
    """Return the models with unique names, since tables and reports refer to them by name: to names
    shared by two models, or equal to that of a baseline, the first digits of the hash are added."""
    uses = Counter([GENERATOR, *BASELINES, *(each.name for each in models)])
    return [
        replace(each, name=f"{each.name} {each.sha256[:8]}") if uses[each.name] > 1 else each
        for each in models
    ]


def exported_model_at(path: StoragePath) -> Path | None:
    """Return the model folder at a path, of one direction or of both, or None; models are always in
    local folders."""
    local = path.local
    return local if local and ((local / SUMS).exists() or is_of_both(local)) else None


def _seen_line(found: CheckpointLocation, store: Store) -> str:
    """Return what a run has seen; its volumes are known if the store has had them."""
    record = read_environment(found.run_folder) or {}
    shown = None
    if record.get("store_fingerprint") == store.fingerprint:
        learned = store.on(axis_of_run(found.run_folder, store))
        shown = as_of(learned, record["store_contents"])
    per_epoch = steps_per_epoch(shown, found.config) if shown else None
    training = Training.of(found.config, found.checkpoint.name, per_epoch)
    return seen_line(SeenScans.of(shown, found.config.data) if shown else SeenScans(), training)


def _exported(
    path: Path, store: Store, device: torch.device | str, batch_size: int
) -> ModelUnderTest:
    """Open a model folder, with the inverse generator only if it contains both directions."""
    folder = model_folder_of(path, "to_ct" if is_of_both(path) else None)
    model = read_model(folder, device=str(device))
    back = None
    if is_of_both(path):
        back = read_model(model_folder_of(path, "to_mri"), device=str(device)).network
    info = model.info
    if info.direction != "to_ct":
        raise UsageError(
            f"{path} makes MRIs, but only synthetic CTs are scored. Give a model_to_ct folder."
        )
    spec = info.preprocessing
    if (spec.spacing_mm, spec.size) != (store.spacing_mm, store.size):
        raise UsageError(
            f"{path} was trained on voxels of {spec.spacing_mm} mm (z y x) in slices of "
            f"{spec.size}; {store.path.name} has {store.spacing_mm} mm and {store.size}. "
            "Scores on two grids cannot be compared. Convert a store with the same settings."
        )
    return ModelUnderTest(
        name=path.name,
        networks=CycleNetworks(
            to_ct=model.network,
            to_mri=back,
            contrast=info.intensity.mri_contrast,
            device=device,
            batch_size=batch_size,
            neighbours=info.neighbours,
            conditions=info.conditions,
            axis=info.height_axis,
        ),
        facts={
            "run": info.run,
            "checkpoint": info.checkpoint,
            "model": path.name,
            "config": info.config_hash[:8],
        },
        seen_line=info.seen_line,
        sha256=sha256_of(folder / SUMS),
        folder=path.absolute().parent,
        suffix=f"_{path.name}",
    )
