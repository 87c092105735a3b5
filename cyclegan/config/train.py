"""Sections of the configuration for optimization, guards, schedules, scale and debugging."""

from dataclasses import dataclass
from typing import Literal

from cyclegan.config.interval import parse_interval
from cyclegan.config.pinned_path import split_pin
from cyclegan.errors import require


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam optimizers of the generators and of the discriminators."""

    learning_rate: float = 2e-4
    """Base learning rate of the generators."""
    discriminator_learning_rate: float = 2e-4
    """Base learning rate of the discriminators."""
    beta1: float = 0.5
    """Adam's decay of the gradient mean."""
    beta2: float = 0.999
    """Adam's decay of the squared-gradient mean."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Decay of the learning rates. `linear`: constant, then linear to 0. `cosine`: half a cosine
    period to 0 over the run."""
    decay_start: float = 0.5
    """Share of the run after which `linear` starts to decay."""
    warmup_steps: int = 0
    """Steps of a linear rise of the learning rates from 0."""
    discriminator_updates: int = 1
    """Discriminator updates per step, all on the images of that step. With 2 or more, the
    discriminators learn faster."""
    discriminator_every_steps: int = 1
    """Steps between two discriminator updates. With 2 or more, the discriminators learn more
    slowly."""
    clip_norm: float = 0.0
    """Largest gradient norm per optimizer (L2 over all its weights); 0: no clipping."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "optimizer.learning_rate must be above 0.")
        require(
            self.discriminator_learning_rate > 0,
            "optimizer.discriminator_learning_rate must be above 0.",
        )
        require(0 <= self.beta1 < 1, "optimizer.beta1 must lie in [0, 1).")
        require(0 <= self.beta2 < 1, "optimizer.beta2 must lie in [0, 1).")
        require(0 <= self.decay_start < 1, "optimizer.decay_start must lie in [0, 1).")
        require(self.warmup_steps >= 0, "optimizer.warmup_steps must be 0 or more.")
        require(
            self.discriminator_updates >= 1, "optimizer.discriminator_updates must be at least 1."
        )
        require(
            self.discriminator_every_steps >= 1,
            "optimizer.discriminator_every_steps must be at least 1.",
        )
        require(self.clip_norm >= 0, "optimizer.clip_norm must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Length, precision and state of the training."""

    epochs: float = 60.0
    """Passes over the larger domain."""
    max_steps: int = 0
    """Total optimizer steps, at which the schedules end; 0: as many as `epochs` take."""
    patience: int = 0
    """Validations without a better `val/selection` after which the run ends early; 0: never. A
    search ignores it: there the scheduler decides."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Precision of the convolutions. `auto`: bf16 if the hardware supports it, else fp16 on a GPU
    and fp32 on a CPU. On a GPU `fp32` is TF32 in convolutions (10 bits of mantissa), except in
    `deterministic` runs."""
    compile: Literal["no", "blocks", "all"] = "all"
    """Extent of torch.compile: `all` networks, or only the residual `blocks`, which compile in
    seconds instead of minutes. If the compiler does not work, training runs in eager mode, with a
    warning."""
    deterministic: bool = False
    """Bit-identical results on any number of workers and after any restart, on machines of one
    kind: shards run one by one on one thread each, and their gradients are added in the shards'
    order."""
    channels_last: Literal["auto", "yes", "no"] = "auto"
    """Use the channels_last memory layout for weights and features. `auto`: on a GPU only, unless
    `make gpu` has found the other layout faster with this GPU and preset."""
    ema_decay: float = 0.999
    """Decay of the moving average of the generators' weights, which is evaluated and exported; 0:
    use the last weights."""
    pool_size: int = 50
    """Earlier fakes kept per shard and domain for the discriminators, Shrivastava 2017; 0: none."""
    init: str = ""
    """Weights to start from: folder or URL of a model, of a run (its best checkpoint) or of a
    checkpoint, or a file of an MRI -> CT generator of pytorch-CycleGAN-and-pix2pix (.pth). Only
    weights are taken, those of the moving average. The command adds @sha256:HASH of what it found.
    Empty: random weights."""
    init_warmup_steps: int = 200
    """Steps at the beginning in which only the discriminators learn, if `init` leads to generators
    without discriminators like those of this run; else there are none."""

    def __post_init__(self) -> None:
        split_pin(self.init)
        require(self.init_warmup_steps >= 0, "train.init_warmup_steps must be 0 or more.")
        require(0 < self.epochs < 1e6, "train.epochs must be above 0 and below a million.")
        require(self.max_steps >= 0, "train.max_steps must be 0 or more.")
        require(self.patience >= 0, "train.patience must be 0 or more.")
        require(0 <= self.ema_decay < 1, "train.ema_decay must lie in [0, 1).")
        require(self.pool_size >= 0, "train.pool_size must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardConfig:
    """Response to non-finite updates; without them it does not affect training."""

    look_every_steps: int = 10
    """Steps between two checks of the device's counters and of stop requests; each is a host-device
    sync. If steps are slow compared with `scale.grace_s`, stop requests are checked more often."""
    max_streak: int = 20
    """Consecutive non-finite updates at which the run is rolled back; fp16 skips up to 17 to find
    its scale."""
    max_rollbacks: int = 3
    """Rollbacks to the last good checkpoint, each with halved learning rates, before the run
    stops."""

    def __post_init__(self) -> None:
        require(self.look_every_steps >= 1, "guard.look_every_steps must be at least 1.")
        require(self.max_streak >= 1, "guard.max_streak must be at least 1.")
        require(self.max_rollbacks >= 0, "guard.max_rollbacks must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """Periodic events.

    An interval is "auto", "never" (only at the end), or a number of steps, pairs, seconds, minutes
    or hours, such as "1000 steps" or "10 minutes". In a deterministic run, "auto" is 1000 steps (50
    for log lines).
    """

    log_every: str = "auto"
    """Interval between two log lines of loss terms and speed, on the console, in TensorBoard and
    metrics.jsonl. "auto": 50 steps, but at least 10 seconds."""
    save_every: str = "auto"
    """Interval between two checkpoints; a kill costs no more, but for what is trained while the
    next one is written. "auto": 10 minutes. A checkpoint also follows each validation."""
    validate_every: str = "auto"
    """Interval between two validations, with scores and images of the val split; always at the end.
    "auto": as often as validating and saving take 5 % of the clock, but at least 2 minutes."""
    validate_volumes: int = 4
    """Volumes of each modality to validate on, paired ones first, distributed over the workers; 0:
    the whole split. A few are quick, and rank checkpoints well enough."""
    keep_last: int = 2
    """Number of newest checkpoints to keep."""
    keep_best: int = 1
    """Number of checkpoints with the lowest validation scores to keep, beside the newest ones."""
    pause_at_step: int = 0
    """Validate, save and exit at this step, with learning rates and loss weights still scheduled
    over the whole run; the same command without it resumes. 0: do not pause."""

    def __post_init__(self) -> None:
        for name in ("log_every", "save_every", "validate_every"):
            parse_interval(f"schedule.{name}", getattr(self, name))
        require(self.log_every != "never", "schedule.log_every is 'never'; a run has log lines.")
        require(self.validate_volumes >= 0, "schedule.validate_volumes must be 0 or more.")
        require(self.keep_last >= 2, "schedule.keep_last must be at least 2: one may be damaged.")
        require(self.keep_best >= 1, "schedule.keep_best must be at least 1.")
        require(self.pause_at_step >= 0, "schedule.pause_at_step must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleConfig:
    """Workers and resources. Nothing here changes the results, except for rounding."""

    workers: int = 1
    """Number of worker processes, one per GPU."""
    min_workers: int = 0
    """Elastic training: continue with as few workers as this; 0: exactly `workers`."""
    gpu: Literal["auto", "yes", "no"] = "auto"
    """Whether each worker requests a GPU from Ray. `auto`: if the cluster has one."""
    gpus_per_worker: float = 1.0
    """Share of a GPU per worker; below 1 several runs fit on one GPU, with one worker each."""
    cpus_per_worker: int = 0
    """CPU cores per worker; 0: the most that all workers can have."""
    max_failures: int = 3
    """Restarts after the loss of a worker."""
    collective_timeout_s: int = 300
    """Seconds that a worker waits for the others before it fails."""
    frozen_timeout_s: int = 45
    """Seconds without a response after which a worker is considered hung and restarted."""
    accumulate: bool = False
    """Run a worker's shards one after the other instead of as one batch: less memory, more time."""
    scoring: Literal["auto", "inline", "beside"] = "auto"
    """Where validation scores are computed: `beside` the training, in a process of each worker that
    uses one more CPU core, so that scores arrive later; or `inline`, while the training waits.
    `auto`: beside if a worker has a core to spare, and inline in a deterministic run."""
    compile_cache: str = ""
    """Folder for compiled code, so that a restart need not recompile. Its contents are executed, so
    nobody else may have write access. Empty: TORCHINDUCTOR_CACHE_DIR, else torch's default."""
    grace_s: int = 25
    """Seconds that the workers may take to save after SIGTERM or SIGINT before the command
    exits."""

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
            "does not support two workers of a run on one GPU. Set --scale.workers 1 or "
            "--scale.gpus-per-worker 1.",
        )
        require(self.cpus_per_worker >= 0, "scale.cpus_per_worker must be 0 or more.")
        require(self.collective_timeout_s >= 1, "scale.collective_timeout_s must be at least 1.")
        require(self.frozen_timeout_s >= 1, "scale.frozen_timeout_s must be at least 1.")
        require(self.grace_s >= 0, "scale.grace_s must be 0 or more.")

    @property
    def workers_per_gpu(self) -> int:
        """Workers that fit on one GPU; a worker cannot be split over two."""
        return int(1 / self.gpus_per_worker + 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class DebugConfig:
    """Diagnosis of a run; nothing here changes the results."""

    profile: bool = False
    """Trace a few steps on each worker, after compilation and warm-up, into `profile/` of the run's
    folder. The files open in Perfetto and in TensorBoard's profile plugin."""
    tracker: Literal["none", "wandb", "mlflow"] = "none"
    """Also send settings and numbers, but no pictures, to Weights & Biases or to an MLflow server.
    TensorBoard and metrics.jsonl have them in any case."""
