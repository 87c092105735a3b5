"""What a run does on a GPU beside its steps: checkpoints, and whole volumes."""

import tempfile
import time

import torch

from benchmarks.on_gpu.bench import Bench, Figures
from cyclegan.inference.slices import translate_volume
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint import checkpoint
from mrct.storage.local_path import LocalPath


def checkpoints(bench: Bench) -> Figures:
    """A checkpoint from the device and back."""
    config = bench.config(compile="no", precision="bf16", channels_last="yes")
    one, other = bench.stepper(config), bench.stepper(config)
    one.step()
    bench.sync()
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        folder = checkpoint.save_checkpoint(one.state, LocalPath(temporary))
        save_s = time.monotonic() - began
        megabytes = sum(folder.sizes().values()) / 1e6
        began = time.monotonic()
        checkpoint.restore_checkpoint(other.state, folder)
        restore_s = time.monotonic() - began
    return {"megabytes": megabytes, "save_s": save_s, "restore_s": restore_s}


def volume(bench: Bench) -> Figures:
    """A volume of 160 slices through a generator of `default`, eager in bf16, twice: the second
    time nothing is new."""
    network = Generator(in_channels=3, filters=bench.filters, blocks=bench.blocks)
    network.to(bench.device, memory_format=torch.channels_last).eval()
    slices = torch.rand(8 if bench.small else 160, 3, bench.size, bench.size)
    times_s = []
    for _ in range(2):
        began = time.monotonic()
        with torch.autocast(bench.device.type, torch.bfloat16):
            translate_volume(network, slices, 8, bench.device)
        times_s.append(time.monotonic() - began)
    return {"slices": len(slices), "first_s": times_s[0], "again_s": times_s[1]}
