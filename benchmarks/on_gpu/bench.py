"""Where GPU checks run: the device, the sizes of networks and slices, and how time is taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from cyclegan.config.config import Config, LossConfig
from cyclegan.config.presets import preset
from cyclegan.data.batch import Batch
from cyclegan.nets.input_channels import with_conditions
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import gpu_name, place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step

LAYOUTS = {"yes": torch.channels_last, "no": torch.contiguous_format}
"""By the value of `train.channels_last`."""
EMA_DECAY = 0.999
PIXEL_MM = (1.0, 1.0)
Figures = dict[str, Any]
"""By name, with their units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launches:
    """What the profiler saw of one call."""

    count: int
    slowest: list[tuple[str, int, float]]
    """Name, calls and device milliseconds of the kernels that took longest."""


@dataclass(kw_only=True, slots=True)
class Stepper:
    """One run's state, engine, batch and loss, whose steps are repeated."""

    state: TrainState
    engine: TrainEngine
    batch: Batch
    weights: LossConfig

    def step(self) -> dict[str, torch.Tensor]:
        """One training step; the counter stands still."""
        return train_step(self.state, self.engine, self.batch, self.weights, EMA_DECAY)

    def plain_step(self) -> None:
        """A step that is none of those in which the watch measures."""
        self.state.step += self.state.step % 10 == 9
        self.step()


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """A device and what fits on it."""

    device: torch.device
    size: int = 256
    """Pixels of a slice's side."""
    filters: int = 64
    """Of all networks' first layers, at most."""
    blocks: int = 9
    """Residual blocks of a generator, at most."""

    @property
    def small(self) -> bool:
        """Whether this is no GPU, and the checks are only tried."""
        return self.device.type != "cuda"

    @property
    def name(self) -> str:
        """The GPU's name, by which layouts are recorded."""
        return gpu_name(self.device) or "CPU"

    @property
    def half(self) -> torch.dtype:
        """What single operations are timed in."""
        return torch.float32 if self.small else torch.bfloat16

    def sync(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def milliseconds(self, work: Callable[[], object], rounds: int = 10) -> tuple[float, float]:
        """Median milliseconds on the device (by its events), and on the host to launch."""
        rounds, warm_up = (2, 1) if self.small else (rounds, 3)
        for _ in range(warm_up):
            work()
        self.sync()
        device_ms, host_ms = [], []
        for _ in range(rounds):
            if self.device.type == "cuda":
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                first.record()
            began = time.perf_counter()
            work()
            host_ms.append(1e3 * (time.perf_counter() - began))
            if self.device.type == "cuda":
                last.record()
                self.sync()
                device_ms.append(first.elapsed_time(last))
        return sorted(device_ms or host_ms)[rounds // 2], sorted(host_ms)[rounds // 2]

    def launches(self, work: Callable[[], object]) -> Launches:
        """Kernels and copies of one call."""
        self.sync()
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities) as profiler:
            work()
            self.sync()
        rows = profiler.key_averages()
        kinds = ("LaunchKernel", "Memcpy", "Memset")
        slowest = sorted(rows, key=lambda row: -getattr(row, "self_device_time_total", 0))[:12]
        return Launches(
            count=sum(row.count for row in rows if any(kind in row.key for kind in kinds)),
            slowest=[
                (row.key[:60], row.count, round(getattr(row, "self_device_time_total", 0) / 1e3, 3))
                for row in slowest
            ],
        )

    def config(self, name: str = "default", *, pairs: int = 2, **train: Any) -> Config:
        """A preset with this bench's sizes, one shard of `pairs`, and settings of `train`."""
        base = preset(name)
        return replace(
            base,
            batch=replace(base.batch, shards=1, shard_size=pairs),
            generator=replace(
                base.generator,
                filters=min(base.generator.filters, self.filters),
                blocks=min(base.generator.blocks, self.blocks),
            ),
            discriminator=replace(
                base.discriminator, filters=min(base.discriminator.filters, self.filters)
            ),
            train=replace(base.train, **train),
        )

    def batch(self, config: Config, *, seed: int = 0, device: torch.device | None = None) -> Batch:
        """Noise inside an ellipse, with conditions where the config has them."""
        device, pairs, side = device or self.device, config.batch.shard_size, self.size
        generator = torch.Generator().manual_seed(seed)
        line = torch.linspace(-1, 1, side)
        y, x = torch.meshgrid(line, line, indexing="ij")
        ellipse = ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1).float()
        body = ellipse.expand(pairs, 1, side, side).contiguous().to(device)
        shape = (pairs, config.data.channels, side, side)
        mri, ct = (
            (torch.rand(shape, generator=generator) * 2 - 1).to(device) * body + body - 1
            for _ in range(2)
        )
        if config.data.conditions:
            height = torch.rand(pairs, generator=generator).to(device)
            mri, ct = (with_conditions(images, body, height, PIXEL_MM) for images in (mri, ct))
        return Batch(mri=mri, ct=ct, mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))

    def stepper(
        self,
        config: Config,
        *,
        total_steps: int = 1000,
        device: torch.device | None = None,
        lap: Callable[[str], None] = lambda part: None,
    ) -> Stepper:
        """A fresh run of a config, whose `train.channels_last` is yes or no."""
        device = device or self.device
        state = build_state(
            config,
            size=(self.size, self.size),
            shards=range(1),
            device=device,
            layout=LAYOUTS[config.train.channels_last],
            fp16=config.train.precision == "fp16",
        )
        return Stepper(
            state=state,
            engine=place_networks(state, config, Worker(device=device), print, lap),
            batch=self.batch(config, device=device),
            weights=config.loss.at(0, total_steps),
        )


SMALL = Bench(device=torch.device("cpu"), size=32, filters=4, blocks=1)
"""To try the checks themselves."""
