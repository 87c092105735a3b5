"""Configuration of a run: every setting of a user, validated on construction.

A number out of its range raises ConfigError, which names the setting and the range. The
command line, `config.yaml` and the hash in a run's name are derived from these fields alone.
`presets.py` defines complete configurations, `files.py` reads and writes them. This module must
not import torch or Ray, so that commands answer at once.
"""

import os
from dataclasses import dataclass, field
from typing import Literal

from cyclegan.config.data import DataConfig
from cyclegan.config.interval import parse_interval
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
from mrct.storage.names import is_plain
from mrct.storage.paths import StoragePath, storage_path

__all__ = [
    "BatchConfig",
    "Config",
    "DataConfig",
    "DebugConfig",
    "DiscriminatorConfig",
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
    """Name, location and seed of a run."""

    name: str = ""
    """Folder name of the run; the same name resumes it. Empty: <preset>-<8 characters of the
    hash>."""
    storage: str = ""
    """Folder or URL (s3://bucket/runs) of all runs; every worker must be able to reach it. Empty:
    the environment variable CYCLEGAN_STORAGE, else `runs`; a Ray job must be given one."""
    seed: int = 0
    """Seed of sample order, augmentation, initial weights and replay pools."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "run.seed must be 0 or more.")
        require(
            not self.name or is_plain(self.name, r"[^./][^/]*"),
            f"run.name is {self.name!r}; it must be a plain folder name.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Slice pairs per optimizer step and their distribution over the workers."""

    shards: int = 1
    """Logical shards per step. Results depend on this, not on the number of workers."""
    shard_size: int = 1
    """Slice pairs per shard."""

    def __post_init__(self) -> None:
        require(self.shards >= 1, "batch.shards must be at least 1.")
        require(self.shard_size >= 1, "batch.shard_size must be at least 1.")

    @property
    def global_size(self) -> int:
        """Slice pairs per optimizer step, over all workers."""
        return self.shards * self.shard_size

    def shards_of(self, rank: int, world_size: int) -> range:
        """Return the logical shards of one worker, in order.

        The shards are divided as evenly as possible; the last workers may have one fewer.

        Args:
            rank: Rank of the worker, in [0, world_size).
            world_size: Number of workers.

        Raises:
            ConfigError: There are more workers than shards.

        Examples:
            >>> batch = BatchConfig(shards=5)
            >>> batch.shards_of(0, 2), batch.shards_of(1, 2)
            (range(0, 3), range(3, 5))
        """
        if world_size > self.shards:
            raise ConfigError(
                f"{world_size} workers, but batch.shards is {self.shards}: "
                f"{world_size - self.shards} workers would be idle. "
                f"Start at most {self.shards} (--scale.workers {self.shards}), "
                f"or set --batch.shards {world_size}."
            )
        share, rest = divmod(self.shards, world_size)
        start = rank * share + min(rank, rest)
        return range(start, start + share + (rank < rest))

    def share_of(self, rank: int, world_size: int) -> float:
        """Return the weight of a worker's mean in a mean over workers: all samples count alike.

        Args:
            rank: Rank of the worker, in [0, world_size).
            world_size: Number of workers.

        Returns:
            1 if all workers have equally many shards; the mean over the workers is 1.

        Raises:
            ConfigError: There are more workers than shards.
        """
        return len(self.shards_of(rank, world_size)) * world_size / self.shards


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """The ResNet generator of Johnson 2016 as used by Zhu 2017, one per direction."""

    filters: int = 64
    """Channels of the first layer."""
    blocks: int = 9
    """Residual blocks."""
    upsample: Literal["transposed", "resize"] = "resize"
    """Upsampling: `transposed` convolution (reference), or `resize`: nearest neighbour followed by
    a convolution, which avoids checkerboard artefacts."""
    guide: Literal["none", "atlas", "table"] = "none"
    """What the generator MRI -> CT corrects: nothing, the `atlas` (the mean of the training CTs at
    each position), or the contrast `table` (the HU that look like the MRI value there), which is
    fitted before the first step. The correction is 0 at first, so the run begins with the scores of
    the look-up. Needs `data.conditions`."""

    def __post_init__(self) -> None:
        require(self.filters >= 1, "generator.filters must be at least 1.")
        require(self.blocks >= 0, "generator.blocks must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """The 70x70 PatchGAN discriminator of Isola 2017, one per domain."""

    filters: int = 64
    """Channels of the first layer."""
    norm: Literal["none", "instance"] = "none"
    """Normalisation after the inner convolutions. Together with `spectral`, `instance` cancels the
    spectral norm's constraint."""
    spectral: bool = True
    """Spectral norm on every convolution (Miyato 2018)."""
    scales: int = 1
    """Discriminators per domain, 1 to 3: the second sees slices at half the resolution, the third
    at a quarter (Wang 2018)."""

    def __post_init__(self) -> None:
        require(self.filters >= 1, "discriminator.filters must be at least 1.")
        require(1 <= self.scales <= 3, "discriminator.scales must be 1, 2 or 3.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Complete configuration of a training run."""

    preset: str = "default"
    """Preset that the values started from; part of the run's name."""
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
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
            self.generator.guide == "none" or self.data.conditions,
            f"generator.guide is {self.generator.guide!r}, but without data.conditions a generator "
            "does not know the positions to look up. Set --data.conditions or --generator.guide "
            "none.",
        )
        terms = self.loss.effective_weights
        require(
            self.data.use_pairs == ("paired" in terms),
            f"data.use_pairs is {self.data.use_pairs}, but loss.paired is "
            f"{'on' if 'paired' in terms else 'off'}: pairs teach by that term alone. Set both, "
            "--data.use-pairs --loss.paired.enabled, or neither.",
        )
        require(
            "anchor" not in terms or bool(self.data.companions),
            "loss.anchor is on, but data.companions names no warped CTs to learn from. Set "
            "--data.companions KEY or --loss.anchor.no-enabled.",
        )
        require(
            self.data.dtype == "float32" or self.train.precision == "fp16",
            f"data.dtype is float16, but train.precision is {self.train.precision!r}: the networks "
            "would get float16 inputs but compute in another precision. "
            "Set --train.precision fp16.",
        )

        for name in ("log_every", "save_every", "validate_every"):
            text = getattr(self.schedule, name)
            require(
                not self.train.deterministic
                or parse_interval(f"schedule.{name}", text).unit != "seconds",
                f"schedule.{name} is {text!r}, but with train.deterministic no clock may decide. "
                "Give it in steps or pairs.",
            )

    @property
    def one_by_one(self) -> bool:
        """Whether a worker runs the shards of a step one after the other."""
        return self.scale.accumulate or self.train.deterministic

    @property
    def run_folder(self) -> StoragePath:
        """Absolute path of the run's output: workers run in other folders than the command.

        The configuration must be from `resolve`, which names the run.
        """
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
            "No store of volumes is given. Set --data.store or CYCLEGAN_STORE. To create a store:\n"
            "  python -m data_prep convert --mri MRI_FOLDER --ct CT_FOLDER --out STORE.zarr",
        )
        return storage_path(path)
