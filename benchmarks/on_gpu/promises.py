"""What must hold on a GPU as on a CPU: no syncs, equal numbers, equal bits, checkpoints, DDP."""

import inspect
import os
import tempfile
import time
import warnings

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.on_gpu.bench import Bench
from cyclegan.inference.slices import translate_volume
from cyclegan.nets.generator import Generator
from cyclegan.train import distributed
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.engine import placement
from mrct.storage.local_path import LocalPath


def no_sync(bench: Bench) -> str:
    """A step of `default` never waits for the device, not where it measures signs either."""
    entries = []
    for precision in ("bf16", "fp16"):
        config = bench.config(compile="no", precision=precision, channels_last="yes")
        stepper = bench.stepper(config, fp16=precision == "fp16")
        for _ in range(2):
            stepper.step()
        stepper.state.step = 10  # signs are measured, and the pools fill
        if not bench.small:
            torch.cuda.set_sync_debug_mode("error")
        try:
            stepper.step()
        finally:
            if not bench.small:
                torch.cuda.set_sync_debug_mode("default")
        entries.append(f"{precision} skipped {float(stepper.state.skipped):.0f}")
    return "no sync in the step of `default`; " + ", ".join(entries)


def as_on_the_cpu(bench: Bench) -> str:
    """Relative differences of every loss term of the first step in fp32."""
    config = bench.config(pairs=1, compile="no", precision="fp32", channels_last="no")
    torch.backends.cudnn.allow_tf32 = False
    try:
        on_cpu, here = (
            bench.stepper(config, device=device).step()
            for device in (torch.device("cpu"), bench.device)
        )
    finally:
        torch.backends.cudnn.allow_tf32 = True
    apart = {
        name: abs(float(value) - float(here[name])) / (abs(float(value)) + 1e-6)
        for name, value in on_cpu.items()
    }
    return ", ".join(f"{name} {value:.1e}" for name, value in apart.items())


def deterministic(bench: Bench) -> str:
    """Two runs of the preset `deterministic`, bit by bit."""
    config = bench.config("deterministic", pairs=1, channels_last="no")
    found = []
    try:
        for _ in range(2):
            stepper = bench.stepper(config, total_steps=100)
            for seed in range(2):
                stepper.batch = bench.batch(config, seed=seed)
                stepper.weights = config.loss.at(seed, 100)
                stepper.step()
            weights = stepper.state.generators.parameters()
            found.append(torch.cat([weight.detach().flatten().cpu() for weight in weights]))
    finally:
        torch.use_deterministic_algorithms(False)
    if not torch.equal(*found):
        raise AssertionError("two runs differ")
    return "two runs are equal to the bit"


def kept_and_restored(bench: Bench) -> str:
    """A checkpoint from the device and back: time, and the next step's loss."""
    config = bench.config(compile="no", precision="bf16", channels_last="yes")
    one = bench.stepper(config, total_steps=100)
    one.step()
    bench.sync()
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        folder = checkpoint.save_checkpoint(one.state, LocalPath(temporary))
        save_s = time.monotonic() - began
        megabytes = sum(folder.sizes().values()) / 1e6
        other = bench.stepper(config, total_steps=100)
        began = time.monotonic()
        checkpoint.restore_checkpoint(other.state, folder)
        restore_s = time.monotonic() - began
    one.weights = other.weights = config.loss.at(1, 100)
    losses = [float(each.step()["loss/generators"]) for each in (one, other)]
    moments = other.state.generator_optimizer.state.values()
    devices = {value.device.type for each in moments for value in each.values()}
    return (
        f"{megabytes:.0f} MB saved in {save_s:.2f} s, back in {restore_s:.2f} s; Adam's state on "
        f"{devices}; next loss {losses[0]:.6f} and {losses[1]:.6f}"
    )


def validation(bench: Bench) -> str:
    """A volume through a generator, twice: the second time nothing is new."""
    network = Generator(in_channels=1, filters=bench.filters, blocks=bench.blocks)
    network.to(bench.device, memory_format=torch.channels_last).eval()
    volume = torch.rand(8 if bench.small else 160, 1, bench.size, bench.size)
    times_s = []
    for _ in range(2):
        began = time.monotonic()
        translate_volume(network, volume, 8, bench.device)
        times_s.append(time.monotonic() - began)
    return f"{len(volume)} slices one way: {times_s[0]:.2f} s, again {times_s[1]:.2f} s"


def one_worker_of_ddp(bench: Bench) -> str:
    """Three steps behind DDP with one worker, and what it warns of."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555", "RANK": "0", "WORLD_SIZE": "1"}
    os.environ.update(address)
    dist.init_process_group("gloo" if bench.small else "nccl")
    try:
        _allow_older_torch()
        config = bench.config(compile="no", precision="bf16", channels_last="yes")
        stepper = bench.stepper(config, total_steps=100)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in range(3):
                stepper.weights = config.loss.at(step, 100)
                stepper.step()
            bench.sync()
            said = distributed.all_gather(["x"], Worker())
            distributed.gather(["x"], Worker())
            distributed.max_over_workers(torch.zeros(2, device=bench.device))
    finally:
        dist.destroy_process_group()
    entries = sorted({str(warning.message)[:70] for warning in caught})
    return f"3 steps behind DDP, objects gathered {said}, warnings {entries}"


def _allow_older_torch() -> None:
    """Machines that are lent may have a torch before 2.13, which has no `forward_sync_buffers`."""
    ddp = nn.parallel.DistributedDataParallel
    if "forward_sync_buffers" not in inspect.signature(ddp).parameters:
        placement.wrap_in_ddp = lambda module: ddp(
            module, broadcast_buffers=False, gradient_as_bucket_view=True
        )
