"""Workers and compilers change the speed, not the result."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import BatchConfig
from cyclegan.config.files import to_yaml
from cyclegan.train.checkpoint.checkpoint import folder_of, load_tensors
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import compute_dtype, memory_format, place_networks
from cyclegan.train.engine.state import build_state
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from tests.support.gloo import run_workers

TRAIN_AND_COUNT = """
import json
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

syncs = {"generators": 0, "discriminators": 0}

def counted(name):
    def hook(group, bucket):
        syncs[name] += bucket.is_last()
        return allreduce_hook(group, bucket)
    return hook

place = loop.place_networks

def place_and_count(*arguments):
    engine = place(*arguments)
    engine.generators.register_comm_hook(None, counted("generators"))
    engine.discriminators.register_comm_hook(None, counted("discriminators"))
    return engine

loop.place_networks = place_and_count
train_worker(config, meet(2))
path.with_name(f"syncs-{rank}.json").write_text(json.dumps(syncs))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("shards", "accumulate"), [(2, False), (3, True)])
def test_two_workers_end_with_the_weights_of_one(config, tmp_path, shards, accumulate):
    """With three shards one worker runs two of them and counts for twice as much. However many
    parts a worker's batch has, an optimizer's gradients travel once in a step."""
    config = replace(config, batch=BatchConfig(shards=shards, shard_size=1))
    one = train_worker(config, Worker())
    path = tmp_path / "two.yaml"
    two = replace(
        config,
        run=replace(config.run, name="two"),
        scale=replace(config.scale, accumulate=accumulate),
    )
    path.write_text(to_yaml(two))

    run_workers(TRAIN_AND_COUNT, path, 2)

    for rank in range(2):
        syncs = json.loads((tmp_path / f"syncs-{rank}.json").read_text())
        assert syncs == {"generators": 6, "discriminators": 6}
    folder = folder_of(two.run_folder, 6)
    weights = load_tensors(folder / "generators.safetensors")
    for name, weight in one.generators.state_dict().items():
        # Sums in another order, over six steps of Adam. A bias before InstanceNorm has a gradient
        # of pure rounding, which Adam blows up to a full step and InstanceNorm cancels.
        if name.endswith("weight"):
            difference = (weights[name] - weight).norm() / weight.norm()
            assert difference < 1e-3, f"{name}: {difference:.1e}"
    assert len(list(folder.glob("pools_*.safetensors"))) == shards
    logged, expected = (
        [line for line in read_lines(run.run_folder / METRICS) if "loss/cycle_mri" in line][-1]
        for run in (two, config)
    )
    scored, scores = (
        [line for line in read_lines(run.run_folder / METRICS) if "val/selection" in line][-1]
        for run in (two, config)
    )
    assert scored["val/selection"] == pytest.approx(scores["val/selection"], rel=1e-2)
    assert logged["speed/sync_ms"] >= 0
    assert "speed/sync_ms" not in expected
    assert logged["loss/cycle_mri"] == pytest.approx(expected["loss/cycle_mri"], rel=1e-3)


def test_a_named_precision_is_taken_and_auto_fits_the_hardware():
    cpu = torch.device("cpu")

    assert compute_dtype("fp32", cpu) == torch.float32
    assert compute_dtype("bf16", cpu) == torch.bfloat16
    flags = Path("/proc/cpuinfo").read_text()
    assert compute_dtype("auto", cpu) == (
        torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32
    )


def test_a_gpu_that_only_emulates_bf16_gets_fp16(monkeypatch):
    """As Turing's do (T4): torch calls it supported unless asked about emulation."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )

    assert compute_dtype("auto", torch.device("cuda")) == torch.float16


def test_channels_last_is_left_to_gpus():
    assert memory_format("auto", torch.device("cpu")) == torch.contiguous_format
    assert memory_format("auto", torch.device("cuda")) == torch.channels_last
    assert memory_format("yes", torch.device("cpu")) == torch.channels_last


def test_without_a_compiler_a_line_says_so_and_training_runs_eager(config, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled = replace(config, train=replace(config.train, compile="all"))
    state = build_state(compiled, size=(32, 32), shards=range(2), device=torch.device("cpu"))

    notes: list[str] = []

    place_networks(state, compiled, Worker(), notes.append)

    assert notes == [
        "No C++ compiler found (no-such-compiler): training runs in eager mode, which is slower."
    ]
    assert state.generators._compiled_call_impl is None


@pytest.mark.slow
def test_a_compiler_that_does_not_work_is_found_out_before_the_first_step(tmp_path):
    probe = (
        "import torch; from cyclegan.train.engine.compile import compile_obstacle; "
        "print(compile_obstacle(torch.device('cpu')))"
    )
    broken = {"CXX": "false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}  # nothing made earlier

    ended = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=os.environ | broken
    )

    assert "torch.compile failed" in ended.stdout, ended.stderr
