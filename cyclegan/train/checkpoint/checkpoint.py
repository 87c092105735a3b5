"""Checkpoints: the complete state of a run, as files that are verified before use.

`snapshot.py` copies a state and writes its files, `folder.py` commits them atomically and decides
which checkpoints are kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.config.files import json_settings
from cyclegan.errors import CheckpointError
from cyclegan.nets.generator import Generator
from cyclegan.nets.stored_weights import network_of
from cyclegan.train.checkpoint.folder import (
    FILE_HASHES,
    STATE,
    best_checkpoint,
    commit_checkpoint,
    complete_checkpoints,
    discard_checkpoint,
    folder_of,
    newest_checkpoint,
    partial_folder,
    prune_checkpoints,
    record_score,
    remove_partial_checkpoints,
    results_folder,
    rollback_target,
    saved_checkpoints,
    score_of,
    unscored_checkpoints,
    verify_checkpoint,
)
from cyclegan.train.checkpoint.snapshot import (
    HostBuffers,
    modules_of,
    optimizers_of,
    pool_file,
    take_snapshot,
    write_snapshot,
)
from cyclegan.train.engine.state import TrainState, build_generators
from mrct.storage.paths import StoragePath

__all__ = [
    "FILE_HASHES",
    "STATE",
    "best_checkpoint",
    "commit_checkpoint",
    "complete_checkpoints",
    "discard_checkpoint",
    "folder_of",
    "load_generators",
    "load_tensors",
    "newest_checkpoint",
    "prune_checkpoints",
    "record_score",
    "remove_partial_checkpoints",
    "restore_checkpoint",
    "results_folder",
    "rollback_target",
    "save_checkpoint",
    "saved_checkpoints",
    "score_of",
    "unscored_checkpoints",
    "verify_checkpoint",
]


def save_checkpoint(
    state: TrainState, run_folder: StoragePath, *, score: float | None = None, attempt: str = ""
) -> StoragePath:
    """Write a checkpoint of a run of one worker, and wait for it; see `background_save.py`.

    Args:
        state: State to save.
        run_folder: Folder of the run.
        score: Validation score at this step, lower is better; None without a validation.
        attempt: Word in the name of the folder that the files are collected in.

    Returns:
        The folder of the checkpoint.

    Raises:
        OSError: A file could not be written, for example because storage is full.
    """
    final = folder_of(run_folder, state.step)
    gathering = partial_folder(final, attempt)
    gathering.make_folder(exist_ok=False)
    validated = score is not None
    snapshot = take_snapshot(state, HostBuffers(), validated=validated, is_rank_zero=True)
    commit_checkpoint(gathering, final, write_snapshot(snapshot, gathering))
    if validated:
        record_score(final, score)
    return final


def restore_checkpoint(state: TrainState, folder: StoragePath) -> None:
    """Restore the complete state from a checkpoint, in place.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged.
    """
    with folder.fetched() as here:
        facts = verify_checkpoint(here)
        for name, module in modules_of(state).items():
            module.load_state_dict(load_tensors(here / f"{name}.safetensors"))
        for name, optimizer in optimizers_of(state).items():
            load_optimizer(optimizer, load_tensors(here / f"{name}.safetensors"))
        for shard in state.mri_pool.shards:
            pools = load_tensors(here / pool_file(shard))
            state.mri_pool.state_of(shard).copy_(pools["mri"])
            state.ct_pool.state_of(shard).copy_(pools["ct"])
    if facts["scaler"]:  # empty if the run was saved without loss scaling
        state.scaler.load_state_dict(facts["scaler"])
    state.skipped.fill_(facts["skipped"])
    state.streak.fill_(facts["streak"])
    state.contrast_table = facts.get("contrast_table", "")
    state.rollbacks = facts["rollbacks"]
    state.warmup_steps = facts.get("warmup_steps", 0)  # earlier versions had none
    state.step = facts["step"]


def load_generators(folder: StoragePath, config: Config) -> tuple[Generator, Generator]:
    """Load the generators of a checkpoint with their mean weights, on the CPU, in evaluation mode.

    Returns:
        (to_ct, to_mri).

    Raises:
        CheckpointError: The checkpoint is incomplete, damaged, or of other settings.
    """
    with folder.fetched() as here:
        require_same_settings(verify_checkpoint(here), config, folder)
        path = here / "mean.safetensors"
        try:
            generators = network_of(
                load_tensors(path),
                lambda: build_generators(config),
                filters=config.generator.filters,
                blocks=config.generator.blocks,
            )
        except ValueError as error:
            raise CheckpointError(
                f"{folder / path.name} is not of the networks that the run's config.yaml "
                f"describes: {error}. Restore the run from a copy, or train it again."
            ) from error
    generators.eval()
    return generators.to_ct, generators.to_mri


def require_same_settings(facts: Mapping[str, Any], config: Config, folder: StoragePath) -> None:
    """Refuse a configuration under which the networks of a checkpoint were not trained.

    Args:
        facts: Content of the checkpoint's `state.json`.
        config: Configuration of the run, as its `config.yaml` states it now.
        folder: The checkpoint, for the message.

    Raises:
        CheckpointError: A setting differs; the message lists them.
    """
    now = json_settings(config)
    changed = [
        f"\n  {name}: {value!r} -> {now[name]!r}"
        for name, value in facts.get("settings", {}).items()
        if name in now and now[name] != value
    ]
    if changed:
        raise CheckpointError(
            f"The checkpoint {folder} was trained with other settings than its run's config.yaml "
            f"states (trained with -> config.yaml):{''.join(changed)}\nThe networks would get "
            "other inputs than in training, and their results would be wrong. Restore the file "
            "from a copy, or write the values of the checkpoint into it."
        )


def load_optimizer(optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Restore an optimizer in place; the inverse of `optimizer_tensors`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        weight = parameters[int(index)]
        if value.shape == weight.shape:
            # Fused Adam iterates over raw memory, so moments need their weight's memory layout.
            value = torch.empty_like(weight).copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"File {path} cannot be read: {error}") from error
