"""Snapshots of a run's state: copies in host memory, which become the files of a checkpoint.

Copying is all that training waits for. Safetensors for networks, optimizers and pools, JSON for the
rest; no pickle.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from cyclegan.train.checkpoint.folder import STATE
from cyclegan.train.engine.state import TrainState
from mrct.storage.local_path import sha256_of
from mrct.storage.paths import StoragePath

COUNTERS = ("skipped", "streak")
"""Counters of the state that stay on the device; see `TrainState`."""


class HostBuffers:
    """Memory for the copies, allocated once: pinned for tensors on a GPU, so that copying them does
    not wait for it."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def copy_of(self, tensor: Tensor, name: str) -> Tensor:
        """Return a contiguous copy, in the memory of the last copy of that name."""
        if name not in self.kept:
            self.kept[name] = torch.empty(
                tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda
            )
        return self.kept[name].copy_(tensor.detach(), non_blocking=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One worker's part of a state, which later steps do not change."""

    step: int
    files: dict[str, dict[str, Tensor]]
    """Tensors by name, by the file that they become."""
    counters: dict[str, Tensor]
    facts: dict[str, Any] | None
    """The rest, which becomes `state.json`; None on workers other than 0."""
    copied: torch.cuda.Event | None
    """When the copies are complete, in the order of the GPU's work; None on a CPU."""


def take_snapshot(
    state: TrainState, buffers: HostBuffers, *, validated: bool, is_rank_zero: bool
) -> Snapshot:
    """Copy what this worker saves: the pools of its shards, and on worker 0 everything else.

    `validated` says whether the checkpoint gets a score (`scores.py`), now or later.
    The host waits for a GPU only where a loss scale (fp16) has to be read. The copies are valid
    until the buffers are used again.
    """
    files: dict[str, dict[str, Tensor]] = {
        pool_file(shard): {
            "mri": state.mri_pool.state_of(shard),
            "ct": state.ct_pool.state_of(shard),
        }
        for shard in state.mri_pool.shards
    }
    if is_rank_zero:
        for name, module in modules_of(state).items():
            files[f"{name}.safetensors"] = module.state_dict()
        for name, optimizer in optimizers_of(state).items():
            files[f"{name}.safetensors"] = optimizer_tensors(optimizer)
    copies = {
        file: {name: buffers.copy_of(tensor, f"{file} {name}") for name, tensor in tensors.items()}
        for file, tensors in files.items()
    }
    counters = {name: buffers.copy_of(getattr(state, name), name) for name in COUNTERS}
    copied = None
    if state.streak.is_cuda:
        copied = torch.cuda.Event()
        copied.record()
    facts = {
        "step": state.step,
        "validated": validated,
        "rollbacks": state.rollbacks,
        "warmup_steps": state.warmup_steps,
        "scaler": state.scaler.state_dict(),
        "settings": dict(state.settings),
        "contrast_table": state.contrast_table,
    }
    return Snapshot(
        step=state.step,
        files=copies,
        counters=counters,
        facts=facts if is_rank_zero else None,
        copied=copied,
    )


def write_snapshot(snapshot: Snapshot, gathering: StoragePath) -> dict[str, str]:
    """Write and sync the files of a snapshot; return their SHA-256 by name.

    Raises:
        OSError: A file could not be written, for example because storage is full.
    """
    if snapshot.copied is not None:
        snapshot.copied.synchronize()
    hashes: dict[str, str] = {}
    with gathering.staging() as folder:
        for name, write in files_of(snapshot):
            hashes[name] = ""
            try:
                write(folder / name)
                hashes[name] = sha256_of(folder / name)
                gathering.settle(folder / name)
            except OSError:  # partial files must not take the space needed to log the error
                for own in hashes:
                    (folder / own).unlink(missing_ok=True)
                raise
    return hashes


def files_of(snapshot: Snapshot) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield the file names of a snapshot, each with the function that writes it."""
    for name, tensors in snapshot.files.items():
        yield name, partial(save_tensors, tensors)
    if snapshot.facts is not None:
        counters = {name: float(value) for name, value in snapshot.counters.items()}
        yield STATE, partial(write_text, json.dumps(snapshot.facts | counters, indent=1))


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


def write_text(text: str, path: Path) -> None:
    """Write a text file; the arguments are in the order of those of `save_tensors`."""
    path.write_text(text)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write contiguous tensors as safetensors.

    Raises:
        OSError: The file could not be written.
    """
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # The library reports the system's error number only within its message.
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise
