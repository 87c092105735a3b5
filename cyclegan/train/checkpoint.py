"""Checkpoints: complete, checksummed, and either there whole or not at all.

A checkpoint is a folder `checkpoints/step_00001000`; safetensors and JSON, no pickle. Its manifest
holds the SHA-256 of every other file and is written last, before the folder gets its name.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cyclegan.config import Config
from cyclegan.errors import CheckpointError
from cyclegan.nets.generator import Generator
from cyclegan.train.state import TrainState, build_translators
from data_prep.atomic import PARTIAL, sync_folder, write_atomic

MANIFEST = "manifest.json"
STATE = "state.json"


def folder_of(run_folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run_folder / "checkpoints" / f"step_{step:08d}"


def save(
    state: TrainState,
    run_folder: Path,
    *,
    score: float | None = None,
    attempt: str = "",
    leads: bool = True,
    barrier: Callable[[], None] = lambda: None,
) -> Path:
    """Write a checkpoint; every worker calls this, and each writes the pools of its own shards.

    `score` is the validation's at this step, lower is better; it travels in the checkpoint, so that
    the best one is found among those that are there. `attempt` is a word that the workers agreed on
    and nobody used before: a worker left over from before a restart writes elsewhere.
    """
    final = folder_of(run_folder, state.step)
    partial = final.with_name(f"{PARTIAL}{attempt}-{final.name}")
    if leads:
        partial.mkdir(parents=True)
    barrier()
    for shard in state.mri_pool.shards:
        pools = {"mri": state.mri_pool.state_of(shard), "ct": state.ct_pool.state_of(shard)}
        save_tensors(pools, partial / pool_file(shard))
    if leads:
        for name, module in modules_of(state).items():
            save_tensors(module.state_dict(), partial / f"{name}.safetensors")
        for name, optimizer in optimizers_of(state).items():
            save_tensors(optimizer_tensors(optimizer), partial / f"{name}.safetensors")
        facts = {
            "step": state.step,
            "score": score,
            "skipped": float(state.skipped),
            "streak": float(state.streak),
            "rollbacks": state.rollbacks,
            "scaler": state.scaler.state_dict(),
        }
        (partial / STATE).write_text(json.dumps(facts, indent=1))
    barrier()
    if leads:
        commit(partial, final)
    barrier()
    return final


def commit(partial: Path, final: Path) -> None:
    """Hash and sync every file, write the manifest last, and give the folder its name."""
    manifest = {}
    for path in sorted(partial.iterdir()):
        with path.open("rb+") as file:
            manifest[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    write_atomic(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
    if final.exists():  # a damaged one of the same step that a resumed run went past
        discard(final)
    partial.rename(final)
    sync_folder(final.parent)


def restore(state: TrainState, folder: Path) -> None:
    """Put the whole state back, in place."""
    facts = verify(folder)
    for name, module in modules_of(state).items():
        module.load_state_dict(load_tensors(folder / f"{name}.safetensors"))
    for name, optimizer in optimizers_of(state).items():
        load_optimizer(optimizer, load_tensors(folder / f"{name}.safetensors"))
    for shard in state.mri_pool.shards:
        pools = load_tensors(folder / pool_file(shard))
        state.mri_pool.state_of(shard).copy_(pools["mri"])
        state.ct_pool.state_of(shard).copy_(pools["ct"])
    state.scaler.load_state_dict(facts["scaler"])
    state.skipped.fill_(facts["skipped"])
    state.streak.fill_(facts["streak"])
    state.rollbacks = facts["rollbacks"]
    state.step = facts["step"]


def verify(folder: Path) -> dict[str, Any]:
    """Check every file against the manifest; returns the facts of `state.json`.

    Raises:
        CheckpointError: A file is missing or does not have the bytes that were written.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, expected in manifest.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise CheckpointError(
                        f"{folder.name}/{name} is damaged: its bytes are not those that were "
                        f"written. Delete {folder} to go on from an older checkpoint."
                    )
        facts: dict[str, Any] = json.loads((folder / STATE).read_text())
    except (OSError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{folder} is no complete checkpoint ({error}). "
            "Name a run folder or one of its checkpoints/step_* folders."
        ) from error
    return facts


def saved(run_folder: Path) -> list[Path]:
    """All checkpoint folders, oldest first; damaged ones too."""
    return sorted((run_folder / "checkpoints").glob("step_*"))


def whole(run_folder: Path) -> Iterator[Path]:
    """The checkpoints that are whole, newest first; a warning for each that is not.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    folders = saved(run_folder)
    damaged = 0
    for folder in reversed(folders):
        try:
            verify(folder)
        except CheckpointError as error:
            print(f"warning: {error} Falling back to another one.", file=sys.stderr)
            damaged += 1
        else:
            yield folder
    if folders and damaged == len(folders):
        raise CheckpointError(
            f"all {len(folders)} checkpoints of {run_folder} are damaged. Going on would start "
            "anew without a word: give the run another --run.name, or delete the folder."
        )


def newest(run_folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where a run has none yet.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return next(whole(run_folder), None)


def best(run_folder: Path) -> Path | None:
    """The whole checkpoint with the lowest score, or the newest where none has one.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    return min(whole(run_folder), key=score_of, default=None)  # the first, newest, of equal ones


def score_of(folder: Path) -> float:
    """The validation score that a checkpoint was saved with; infinity without a readable one."""
    try:
        return float(json.loads((folder / STATE).read_text())["score"])
    except (OSError, ValueError, TypeError):
        return inf


def healthy(run_folder: Path) -> Path | None:
    """The newest whole checkpoint that was not saved amid updates that were not finite."""
    return next((f for f in whole(run_folder) if not verify(f)["streak"]), None)


def prune(run_folder: Path, keep_last: int, keep_best: int) -> None:
    """Delete all but the newest ones and the best ones."""
    newest_first = saved(run_folder)[::-1]
    ranked = sorted(newest_first, key=score_of)  # the newest of equal ones comes first
    best_ones = [folder for folder in ranked if score_of(folder) < inf][:keep_best]
    for folder in newest_first[keep_last:]:
        if folder not in best_ones:
            discard(folder)


def sweep(run_folder: Path) -> None:
    """Delete what a kill left unfinished."""
    for litter in (run_folder / "checkpoints").glob(f"{PARTIAL}*"):
        shutil.rmtree(litter, ignore_errors=True)


def discard(folder: Path) -> None:
    """Delete a checkpoint, also for a kill in between: first its name goes, then its files."""
    doomed = folder.with_name(f"{PARTIAL}discarded")
    shutil.rmtree(doomed, ignore_errors=True)  # what a kill had left of an earlier one
    folder.rename(doomed)
    shutil.rmtree(doomed)


def load_translators(folder: Path, config: Config) -> tuple[Generator, Generator]:
    """(to_ct, to_mri) with the mean weights, on the CPU, in evaluation mode."""
    verify(folder)
    translators = build_translators(config)
    translators.load_state_dict(load_tensors(folder / "mean.safetensors"))
    translators.eval()
    return translators.to_ct, translators.to_mri


def modules_of(state: TrainState) -> dict[str, nn.Module]:
    """The state's networks by the name of their file."""
    return {"translators": state.translators, "critics": state.critics, "mean": state.mean}


def optimizers_of(state: TrainState) -> dict[str, torch.optim.Adam]:
    """The state's optimizers by the name of their file."""
    return {
        "translator_optimizer": state.translator_optimizer,
        "critic_optimizer": state.critic_optimizer,
    }


def pool_file(shard: int) -> str:
    """The file of one logical shard's pools."""
    return f"pools_{shard:03d}.safetensors"


def optimizer_tensors(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Adam's moments and step counts as `<parameter>.<name>`; rates come from the config."""
    return {
        f"{index}.{name}": value
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def load_optimizer(optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        weight = parameters[int(index)]
        if value.shape == weight.shape:
            # Fused Adam walks through memory, so moments must lie as their weight does.
            value = torch.empty_like(weight).copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, which wants them contiguous."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors onto the CPU."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
