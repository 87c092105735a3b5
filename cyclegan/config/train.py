"""The sections of a run's configuration that say how it is trained, kept and spread out.

`config.py` puts them together with what is trained, and on what.
"""

from dataclasses import dataclass
from typing import Literal

from cyclegan.errors import require


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam for the translators, and Adam for the critics."""

    learning_rate: float = 2e-4
    critic_learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """`linear`: constant, then straight down to 0. `cosine`: down to 0 over the run."""
    decay_start: float = 0.5
    """Share of the run after which `linear` goes down."""
    warmup_steps: int = 0
    """Steps over which the rates rise from 0."""
    critic_updates: int = 1
    """Critic updates in a step, all from its images. With 2 or more the critics learn faster."""
    critic_every_steps: int = 1
    """Steps from one critic update to the next. With 2 or more the critics learn slower."""
    clip_norm: float = 0.0
    """Longest gradient that an optimizer takes, over all its weights (L2 norm); 0: any."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "optimizer.learning_rate must be above 0.")
        require(self.critic_learning_rate > 0, "optimizer.critic_learning_rate must be above 0.")
        require(0 <= self.decay_start < 1, "optimizer.decay_start must lie in [0, 1).")
        require(self.warmup_steps >= 0, "optimizer.warmup_steps must be 0 or more.")
        require(self.critic_updates >= 1, "optimizer.critic_updates must be at least 1.")
        require(self.critic_every_steps >= 1, "optimizer.critic_every_steps must be at least 1.")
        require(self.clip_norm >= 0, "optimizer.clip_norm must be 0 or more.")


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
    minutes to prepare. Eager, with a warning, where the compiler does not work."""
    deterministic: bool = False
    """The same bits on any number of workers and after any restart, on machines of one kind: shards
    run one by one on one thread each, and their gradients are added in the shards' order."""
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
class GuardConfig:
    """What is done when updates are not finite; a healthy run does not depend on it."""

    look_every_steps: int = 10
    """The host reads the device's counters, and whether it is told to stop: a sync each time. Where
    steps are slow for `scale.grace_s`, it asks for the latter in between too."""
    max_streak: int = 20
    """Updates in a row that may be skipped as not finite; fp16 skips up to 17 to find its scale."""
    max_rollbacks: int = 3
    """Returns to the last good checkpoint, each with half of the rates, before the run stops."""

    def __post_init__(self) -> None:
        require(self.look_every_steps >= 1, "guard.look_every_steps must be at least 1.")
        require(self.max_streak >= 1, "guard.max_streak must be at least 1.")
        require(self.max_rollbacks >= 0, "guard.max_rollbacks must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """What happens every so many steps; 0 means never, but for the end of the run."""

    log_every_steps: int = 50
    """Loss terms and speed, to the console, TensorBoard and metrics.jsonl."""
    save_every_steps: int = 1000
    """A checkpoint; at most this many steps are lost when a run is killed."""
    validate_every_steps: int = 1000
    """Scores and pictures of the val split; always at the end."""
    validate_volumes: int = 4
    """Volumes of each modality that are looked at, paired ones first, spread over the workers; 0:
    all of the split. A few rank checkpoints well enough, and are quick."""
    keep_last: int = 2
    """Newest checkpoints kept."""
    keep_best: int = 1
    """Checkpoints with the lowest validation score that are kept beside the newest ones."""
    pause_at_step: int = 0
    """Validate, save and end at this step, while rates and weights keep to the whole run's course;
    the same command without it goes on. 0: the run's end."""

    def __post_init__(self) -> None:
        require(self.log_every_steps >= 1, "schedule.log_every_steps must be at least 1.")
        require(self.validate_volumes >= 0, "schedule.validate_volumes must be 0 or more.")
        require(self.keep_last >= 2, "schedule.keep_last must be at least 2: one could be damaged.")
        require(self.keep_best >= 1, "schedule.keep_best must be at least 1.")
        require(self.pause_at_step >= 0, "schedule.pause_at_step must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleConfig:
    """The machines. Nothing here changes what is computed, but for rounding."""

    workers: int = 1
    """Processes, one per GPU."""
    min_workers: int = 0
    """Elastic: go on with as few as this many; 0: exactly `workers`."""
    gpu: Literal["auto", "yes", "no"] = "auto"
    """Whether each worker asks Ray for a GPU. `auto`: when the cluster has one."""
    gpus_per_worker: float = 1.0
    """Share of a GPU that a worker takes; below 1 several runs fit on one, with one worker each."""
    cpus_per_worker: int = 0
    """CPU cores per worker; 0: the most that all workers can have."""
    max_failures: int = 3
    """Restarts after the loss of a worker."""
    collective_timeout_s: int = 300
    """How long a worker waits for the others before it gives up."""
    frozen_timeout_s: int = 45
    """How long a worker may give no sign of life before it is given up: its process is frozen."""
    accumulate: bool = False
    """Run a worker's shards one after the other instead of as one batch: less memory, more time."""
    compile_cache: str = ""
    """Folder for compiled code, so that a restart need not compile again; it must be writable to
    nobody else, for what lies there is run. Empty: TORCHINDUCTOR_CACHE_DIR, else torch's own."""
    grace_s: int = 25
    """How long the workers may take to save after SIGTERM or SIGINT before the command ends."""

    def __post_init__(self) -> None:
        require(self.workers >= 1, "scale.workers must be at least 1.")
        require(
            0 <= self.min_workers <= self.workers,
            "scale.min_workers must lie between 0 and scale.workers.",
        )
        require(0 < self.gpus_per_worker <= 1, "scale.gpus_per_worker must lie in (0, 1].")
        require(
            self.gpus_per_worker == 1 or self.workers == 1,
            f"scale.gpus_per_worker is {self.gpus_per_worker}, with {self.workers} workers: NCCL "
            "refuses two workers of a run on one GPU. Set --scale.workers 1, or whole GPUs.",
        )
        require(self.collective_timeout_s >= 1, "scale.collective_timeout_s must be at least 1.")
        require(self.frozen_timeout_s >= 1, "scale.frozen_timeout_s must be at least 1.")
        require(self.grace_s >= 0, "scale.grace_s must be 0 or more.")

    @property
    def workers_per_gpu(self) -> int:
        """How many share one GPU; what is left over on two makes no third."""
        return int(1 / self.gpus_per_worker + 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class DebugConfig:
    """To look into a run; nothing here changes what is computed."""

    profile: bool = False
    """Trace a few steps on each worker, after those that compile and warm up, to `profile/` in the
    run's folder. The files open in Perfetto and in TensorBoard's profile plugin."""
