"""A run's state, batches and steps on a device that computes nothing.

The state is built on the stub of a GPU, whose memory is the host's. Steps run on fake tensors:
shapes, devices and data types without numbers, so a value that is read raises.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cyclegan.config.config import Config
from cyclegan.config.presets import preset
from cyclegan.data.batch import Batch
from cyclegan.nets.input_channels import with_conditions
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import memory_format, place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step

STUB = "Stub of an H200"
"""The name in device.h."""
CPU = torch.device("cpu")
DEVICE = torch.device("cuda", 1)
"""The second of two: whatever says "cuda" without an index, or 0, is on another device."""

Precision = Literal["bf16", "fp16", "fp32"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class OnDevice(TorchDispatchMode):
    """Refuses every operation that yields a tensor of another device or makes the host wait.

    Such are copies to the host, and those from it that are not `non_blocking`. Keeps the floating
    data types of what each operator returned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        given = {x.device for x in tensors_of((args, kwargs))}
        for x in tensors_of(made):
            assert x.device == DEVICE or (x.device == CPU and DEVICE not in given), (
                f"{func} of tensors on {given} yields one on {x.device}"
            )
            if x.device == DEVICE and CPU in given and func.overloadpacket in COPIES:
                assert is_non_blocking(func, args, kwargs), f"{func} makes the host wait"
            if x.is_floating_point():
                self.dtypes.setdefault(func.overloadpacket.__name__, set()).add(x.dtype)
        return made


COPIES = {torch.ops.aten._to_copy, torch.ops.aten.copy_}


def is_non_blocking(func, args, kwargs) -> bool:
    positions = [each.name for each in func._schema.arguments]
    named = dict(zip(positions, args, strict=False)) | kwargs
    return bool(named.get("non_blocking"))


def tensors_of(tree: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StubRun:
    """A worker of a run, ready for its first step."""

    config: Config
    state: TrainState
    engine: TrainEngine
    batch: Batch

    def step(self) -> dict[str, Tensor]:
        return train_step(
            self.state, self.engine, self.batch, self.config.loss, self.config.train.ema_decay
        )


def eager(name: str, precision: Precision) -> Config:
    """A preset, not compiled: what the compiler sees, too, but for the fusion."""
    config = preset(name)
    return replace(config, train=replace(config.train, precision=precision, compile="no"))


def size_of(config: Config) -> int:
    """Rows and columns of the slices that a preset is made for."""
    return 512 if config.preset == "pelvis-512" else 256


@contextmanager
def fake_tensors() -> Iterator[OnDevice]:
    """Run what follows on fake tensors, those that are real at its beginning, too."""
    with FakeTensorMode(allow_non_fake_inputs=True), OnDevice() as guard:
        yield guard


def stub_run(config: Config, worker: Worker) -> StubRun:
    """Build a worker's state as a run does; its batch is of fake tensors."""
    shards = config.batch.shards_of(worker.rank, worker.world_size)
    size = size_of(config)
    layout = memory_format(config.train.channels_last, DEVICE)
    state = build_state(
        config,
        size=(size, size),
        shards=shards,
        device=worker.device,
        layout=layout,
        fp16=config.train.precision == "fp16",
    )
    notes: list[str] = []
    engine = place_networks(state, config, worker, notes.append)
    assert notes == []
    with fake_tensors():
        batch = fake_batch(config, len(shards) * config.batch.shard_size, layout)
    return StubRun(config=config, state=state, engine=engine, batch=batch)


def fake_batch(config: Config, pairs: int, layout: torch.memory_format) -> Batch:
    size = size_of(config)
    shape = (pairs, config.data.channels, size, size)
    mri, ct = (torch.empty(shape, device=DEVICE).to(memory_format=layout) for _ in range(2))
    body = torch.empty(pairs, 1, size, size, device=DEVICE)
    if config.data.conditions:
        height = torch.empty(pairs, device=DEVICE)
        mri, ct = (with_conditions(images, body, height, (1.0, 1.0)) for images in (mri, ct))
    return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))
