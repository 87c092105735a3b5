"""The configuration of a run: what a user may set, checked when it is built.

The command line, `config.yaml` and the hash that names a run follow these fields and nothing else.
Whole configurations are in `presets.py`, their file in `config_file.py`. Nothing here knows of
torch, Ray or data.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cyclegan.config_loss import LossConfig as LossConfig
from cyclegan.errors import ConfigError, require


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What the run is called and where it is kept."""

    name: str = ""
    """Folder of the run; the same name resumes it. Empty: <preset>-<8 characters of the hash>."""
    storage: str = "runs"
    """Folder that holds the runs; all workers must reach it."""
    seed: int = 0
    """Order, augmentation, initial weights and replay all follow from it."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "run.seed must be 0 or more.")
        require(
            self.name == Path(self.name).name and not self.name.startswith("."),
            f"run.name is {self.name!r}; it must be a plain folder name.",
        )


NUM_CONDITIONS = 2
"""Depth below the body's surface, and relative height: see `data.channels`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which slices are seen, and how they are varied."""

    store: str = ""
    """Zarr store written by `data_prep convert`; empty: the environment's CYCLEGAN_STORE."""
    mri_contrast: Literal["plain", "inverted"] = "plain"
    """`inverted` shows the networks 0.05 - 0.45 x of the MRI inside the body and -1 outside: bright
    fat starts out as soft tissue and dark bone as bone."""
    partner: Literal["random", "position"] = "position"
    """The CT slice beside an MRI slice: any, or one at a similar relative height of the head."""
    neighbours: int = 0
    """Slices shown above and below each one, as channels of the generators' input (2.5D)."""
    conditions: bool = False
    """Show the networks two more channels: the depth below the body's surface in the slice, and the
    slice's relative height in the body."""
    min_body_fraction: float = 0.05
    """Slices with a smaller share of body are left out of training."""
    allow_paired_train: bool = False
    """Let a subject with both scans serve both domains; else it keeps one: unpaired training."""
    flip: bool = True
    """Mirror half of the slices left to right."""
    rotate_degrees: float = 15.0
    """Rotate by up to this angle, either way."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Scale by a factor from this range."""
    translate_fraction: float = 0.04
    """Shift by up to this share of the slice's side, either way."""
    contrast: float = 0.1
    """Vary the MRI's gain by up to this share. CT is never varied: HU must keep their meaning."""
    cache_gib: float = 1.0
    """Memory for decoded slices, per worker."""
    threads: int = 1
    """Threads of the DALI pipeline, per worker."""

    def __post_init__(self) -> None:
        require(0 <= self.min_body_fraction < 1, "data.min_body_fraction must lie in [0, 1).")
        require(0 <= self.rotate_degrees <= 180, "data.rotate_degrees must lie in [0, 180].")
        require(
            0 < self.zoom[0] <= self.zoom[1], "data.zoom must be two positive factors, low to high."
        )
        require(0 <= self.translate_fraction < 0.5, "data.translate_fraction must lie in [0, 0.5).")
        require(0 <= self.contrast < 1, "data.contrast must lie in [0, 1).")
        require(0 <= self.neighbours <= 8, "data.neighbours must lie in [0, 8].")

    @property
    def channels(self) -> int:
        """Of an image: the slice itself in the middle of its neighbours."""
        return 2 * self.neighbours + 1

    @property
    def num_conditions(self) -> int:
        """Channels that a network sees beside those of the image."""
        return NUM_CONDITIONS if self.conditions else 0


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

    def __post_init__(self) -> None:
        require(self.filters >= 1, "critic.filters must be at least 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam for the translators, and Adam for the critics."""

    learning_rate: float = 2e-4
    critic_learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """`linear`: constant for half of the run, then down to 0. `cosine`: down to 0 over the run."""
    warmup_steps: int = 0
    """Steps over which the rates rise from 0."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "optimizer.learning_rate must be above 0.")
        require(self.critic_learning_rate > 0, "optimizer.critic_learning_rate must be above 0.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long to train, and with what arithmetic."""

    epochs: float = 60.0
    """Passes over the larger domain."""
    max_steps: int = 0
    """Stop and finish the schedules at this step; 0: as long as the epochs are."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Arithmetic of the convolutions. `auto`: bf16 where the hardware has it, else fp16 on a GPU
    and fp32 on a CPU."""
    compile: Literal["no", "blocks", "all"] = "all"
    """torch.compile of everything, or of the residual blocks alone, which takes seconds instead of
    minutes to prepare. Eager, with a warning, where no C++ compiler is found."""
    channels_last: Literal["auto", "yes", "no"] = "auto"
    """Memory layout of weights and features. `auto`: on a GPU only."""
    ema_decay: float = 0.999
    """Running mean of the generators' weights: evaluated and exported; 0: the last weights."""
    pool_size: int = 50
    """Earlier fakes kept for the critics, per shard and domain (Shrivastava 2017); 0: none."""

    def __post_init__(self) -> None:
        require(0 < self.epochs < 1e6, "train.epochs must be above 0 and below a million.")
        require(self.max_steps >= 0, "train.max_steps must be 0 or more.")
        require(0 <= self.ema_decay < 1, "train.ema_decay must lie in [0, 1).")
        require(self.pool_size >= 0, "train.pool_size must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """What happens every so many steps; 0 means never, but for the end of the run."""

    log_every_steps: int = 50
    """Loss terms and speed, to the console, TensorBoard and metrics.jsonl."""
    save_every_steps: int = 1000
    """A checkpoint; at most this many steps are lost when a run is killed."""
    validate_every_steps: int = 1000
    """Scores and pictures of the val split; always at the end."""
    keep_last: int = 2
    """Newest checkpoints kept, beside the best one."""

    def __post_init__(self) -> None:
        require(self.log_every_steps >= 1, "schedule.log_every_steps must be at least 1.")
        require(self.keep_last >= 2, "schedule.keep_last must be at least 2: one could be damaged.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleConfig:
    """The machines. Nothing here changes what is computed, but for rounding."""

    workers: int = 1
    """Processes, one per GPU."""
    min_workers: int = 0
    """Elastic: go on with as few as this many; 0: exactly `workers`."""
    gpu: Literal["auto", "yes", "no"] = "auto"
    """Whether each worker asks Ray for a GPU. `auto`: when the cluster has one."""
    cpus_per_worker: int = 0
    """CPU cores per worker; 0: the cluster's cores shared evenly."""
    max_failures: int = 3
    """Restarts after the loss of a worker."""
    collective_timeout_s: int = 300
    """How long a worker waits for the others before it gives up."""

    def __post_init__(self) -> None:
        require(self.workers >= 1, "scale.workers must be at least 1.")
        require(
            0 <= self.min_workers <= self.workers,
            "scale.min_workers must lie between 0 and scale.workers.",
        )
        require(self.collective_timeout_s >= 1, "scale.collective_timeout_s must be at least 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A run of the trainer."""

    preset: Annotated[str, tyro.conf.Suppress] = "default"
    """Where the values came from; part of the run's name."""
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)

    def __post_init__(self) -> None:
        self.batch.shards_of(0, self.scale.workers)

    @property
    def run_folder(self) -> Path:
        """Where the run writes; absolute, since workers run in other folders than the command."""
        assert self.run.name, "config_file.resolve() names a run"
        return Path(self.run.storage).expanduser().absolute() / self.run.name

    @property
    def store(self) -> Path:
        """The Zarr store, absolute.

        Raises:
            ConfigError: Neither `data.store` nor CYCLEGAN_STORE is set.
        """
        path = self.data.store or os.environ.get("CYCLEGAN_STORE", "")
        require(
            bool(path),
            "no store of volumes is named. Set --data.store or CYCLEGAN_STORE; to make one:\n"
            "  python -m data_prep convert --mri MRI_FOLDER --ct CT_FOLDER --out STORE.zarr",
        )
        return Path(path).expanduser().absolute()
