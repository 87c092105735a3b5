"""Checkpoints: the complete state of a run, as files that are verified before use.

Safetensors for networks, optimizers and pools, JSON for the rest; no pickle. `folder.py` commits
the files atomically and decides which checkpoints are kept.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cyclegan.config.config import Config
from cyclegan.errors import CheckpointError
from cyclegan.nets.generator import Generator
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
    remove_partial_checkpoints,
    results_folder,
    rollback_target,
    saved_checkpoints,
    score_of,
    verify_checkpoint,
)
from cyclegan.train.engine.state import TrainState, build_generators
from mrct.storage.local_path import sha256_of
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
    "remove_partial_checkpoints",
    "restore_checkpoint",
    "results_folder",
    "rollback_target",
    "save_checkpoint",
    "saved_checkpoints",
    "score_of",
    "verify_checkpoint",
]


def save_checkpoint(
    state: TrainState,
    run_folder: StoragePath,
    *,
    score: float | None = None,
    attempt: str = "",
    is_rank_zero: bool = True,
    barrier: Callable[[], None] = lambda: None,
    gather: Callable[[list[str]], list[list[str]]] = lambda words: [words],
) -> StoragePath:
    """Write a checkpoint. All workers must call this; each writes the pools of its own shards.

    Args:
        state: State to save.
        run_folder: Folder of the run.
        score: Validation score at this step, lower is better; None without a validation. It is
            stored in the checkpoint, so that the best of the kept ones can be found.
        attempt: A unique word that the workers agreed on, so that a worker left over from before a
            restart writes elsewhere.
        leads: Whether this is worker 0, which writes everything but the pools.
        barrier: Waits for all workers.
        gather: Returns the given lists of all workers.

    Returns:
        The folder of the checkpoint.

    Raises:
        OSError: A file could not be written, for example because storage is full.
    """
    final = folder_of(run_folder, state.step)
    gathering = partial_folder(final, attempt)
    if is_rank_zero:
        gathering.make_folder(exist_ok=False)
    barrier()
    hashes: dict[str, str] = {}
    with gathering.staging() as folder:
        for name, write in files_of(state, score, is_rank_zero):
            hashes[name] = ""
            try:
                write(folder / name)
                hashes[name] = sha256_of(folder / name)
                gathering.settle(folder / name)
            except OSError:  # partial files must not take the space needed to log the error
                for own in hashes:
                    (folder / own).unlink(missing_ok=True)
                raise
    entries = gather([f"{digest} {name}" for name, digest in hashes.items()])
    if is_rank_zero:
        lines = [line.split(maxsplit=1) for lines in entries for line in lines]
        commit_checkpoint(gathering, final, {name: digest for digest, name in lines})
    barrier()
    return final


def files_of(
    state: TrainState, score: float | None, is_rank_zero: bool
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield the file names that one worker writes, each with the function that writes it."""
    for shard in state.mri_pool.shards:
        pools = {"mri": state.mri_pool.state_of(shard), "ct": state.ct_pool.state_of(shard)}
        yield pool_file(shard), partial(save_tensors, pools)
    if not is_rank_zero:
        return
    for name, module in modules_of(state).items():
        yield f"{name}.safetensors", partial(save_tensors, module.state_dict())
    for name, optimizer in optimizers_of(state).items():
        yield f"{name}.safetensors", partial(save_tensors, optimizer_tensors(optimizer))
    facts = {
        "step": state.step,
        "score": score,
        "skipped": float(state.skipped),
        "streak": float(state.streak),
        "rollbacks": state.rollbacks,
        "scaler": state.scaler.state_dict(),
    }
    yield STATE, partial(write_text, json.dumps(facts, indent=1))


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
    state.rollbacks = facts["rollbacks"]
    state.step = facts["step"]


def load_generators(folder: StoragePath, config: Config) -> tuple[Generator, Generator]:
    """Load the generators of a checkpoint with their mean weights, on the CPU, in evaluation mode.

    Returns:
        (to_ct, to_mri).

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged.
    """
    with folder.fetched() as here:
        verify_checkpoint(here)
        generators = build_generators(config)
        generators.load_state_dict(load_tensors(here / "mean.safetensors"))
    generators.eval()
    return generators.to_ct, generators.to_mri


def modules_of(state: TrainState) -> dict[str, nn.Module]:
    """Return the state's networks by their file names without suffix."""
    return {
        "generators": state.generators,
        "discriminators": state.discriminators,
        "mean": state.mean,
    }


def optimizers_of(state: TrainState) -> dict[str, torch.optim.Adam]:
    """Return the state's optimizers by their file names without suffix."""
    return {
        "generator_optimizer": state.generator_optimizer,
        "discriminator_optimizer": state.discriminator_optimizer,
    }


def pool_file(shard: int) -> str:
    """Return the file name of the pools of one logical shard."""
    return f"pools_{shard:03d}.safetensors"


def optimizer_tensors(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Return Adam's moments and step counts as `<parameter>.<name>`; rates come from the config."""
    return {
        f"{index}.{name}": value
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


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


def write_text(text: str, path: Path) -> None:
    """Write a text file; the arguments are in the order of those of `save_tensors`."""
    path.write_text(text)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, which requires contiguous memory.

    Raises:
        OSError: The file could not be written.
    """
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path)
    except SafetensorError as error:
        # The library reports the system's error number only within its message.
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"File {path} cannot be read: {error}") from error
