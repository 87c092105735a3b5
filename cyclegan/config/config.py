"""The configuration of a run: what a user may set, checked when it is built.

The command line, `config.yaml` and the hash that names a run follow these fields and nothing else.
Whole configurations are in `presets.py`, their file in `files.py`. Nothing here knows of
torch, Ray or data.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cyclegan.config.data import DataConfig
from cyclegan.config.loss import LossConfig
from cyclegan.config.train import (
    DebugConfig,
    GuardConfig,
    OptimizerConfig,
    ScaleConfig,
    ScheduleConfig,
    TrainConfig,
)
from cyclegan.errors import ConfigError, require
from mrct.storage.paths import StoragePath, storage_path

__all__ = [
    "BatchConfig",
    "Config",
    "CriticConfig",
    "DataConfig",
    "DebugConfig",
    "GeneratorConfig",
    "GuardConfig",
    "LossConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScaleConfig",
    "ScheduleConfig",
    "TrainConfig",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What the run is called and where it is kept."""

    name: str = ""
    """Folder of the run; the same name resumes it. Empty: <preset>-<8 characters of the hash>."""
    storage: str = "runs"
    """Folder or URL (s3://bucket/runs) that holds the runs; all workers must reach it."""
    seed: int = 0
    """Order, augmentation, initial weights and replay all follow from it."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "run.seed must be 0 or more.")
        require(
            self.name == Path(self.name).name and not self.name.startswith("."),
            f"run.name is {self.name!r}; it must be a plain folder name.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How many slice pairs make one optimizer step, and how they spread over the workers."""

    shards: int = 1
    """Logical shards of a step. Results depend on this, not on the number of workers."""
    shard_size: int = 1
    """Slice pairs in one shard."""

    def __post_init__(self) -> None:
        require(self.shards >= 1, "batch.shards must be at least 1.")
        require(self.shard_size >= 1, "batch.shard_size must be at least 1.")

    @property
    def global_size(self) -> int:
        """Slice pairs of one optimizer step, over all workers."""
        return self.shards * self.shard_size

    def shards_of(self, rank: int, world_size: int) -> range:
        """The shards that one worker runs, in order; the last workers may run one fewer."""
        if world_size > self.shards:
            raise ConfigError(
                f"{world_size} workers, but batch.shards is {self.shards}: "
                f"{world_size - self.shards} would have nothing to do. "
                f"Start at most {self.shards} (--scale.workers {self.shards}), "
                f"or set --batch.shards {world_size}."
            )
        share, rest = divmod(self.shards, world_size)
        start = rank * share + min(rank, rest)
        return range(start, start + share + (rank < rest))


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """The ResNet generator of Johnson 2016 as Zhu 2017 uses it, one for each direction."""

    filters: int = 64
    """Channels of the first layer."""
    blocks: int = 9
    """Residual blocks."""
    upsample: Literal["transposed", "resize"] = "resize"
    """Transposed convolution (reference), or nearest neighbour and convolution: no checkerboard."""

    def __post_init__(self) -> None:
        require(self.filters >= 1, "generator.filters must be at least 1.")
        require(self.blocks >= 0, "generator.blocks must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticConfig:
    """The 70x70 PatchGAN of Isola 2017, one for each domain."""

    filters: int = 64
    """Channels of the first layer."""
    norm: Literal["none", "instance"] = "none"
    """Normalisation after the inner convolutions. With `spectral` it cancels the constraint."""
    spectral: bool = True
    """Spectral norm on every convolution (Miyato 2018)."""
    scales: int = 1
    """Critics of each domain: the second sees slices at half the resolution, the third at a quarter
    (Wang 2018)."""

    def __post_init__(self) -> None:
        require(self.filters >= 1, "critic.filters must be at least 1.")
        require(1 <= self.scales <= 3, "critic.scales must be 1, 2 or 3.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A run of the trainer."""

    preset: str = "default"
    """Where the values came from; part of the run's name."""
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)

    def __post_init__(self) -> None:
        self.batch.shards_of(0, self.scale.workers)
        require(
            self.data.dtype == "float32" or self.train.precision == "fp16",
            f"data.dtype is float16, but train.precision is {self.train.precision!r}: the networks "
            "would meet numbers that they do not compute in. Set --train.precision fp16.",
        )

    @property
    def run_folder(self) -> StoragePath:
        """Where the run writes; absolute, since workers run in other folders than the command."""
        assert self.run.name, "config.files.resolve() names a run"
        return storage_path(self.run.storage) / self.run.name

    @property
    def store(self) -> StoragePath:
        """The Zarr store, an absolute path or a URL.

        Raises:
            ConfigError: Neither `data.store` nor CYCLEGAN_STORE is set.
        """
        path = self.data.store or os.environ.get("CYCLEGAN_STORE", "")
        require(
            bool(path),
            "no store of volumes is named. Set --data.store or CYCLEGAN_STORE; to make one:\n"
            "  python -m data_prep convert --mri MRI_FOLDER --ct CT_FOLDER --out STORE.zarr",
        )
        return storage_path(path)
