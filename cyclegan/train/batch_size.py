"""`--batch auto`: as many pairs in a step as a GPU has memory for and can use."""

from dataclasses import replace

import torch

from cyclegan.config.config import BatchConfig, Config
from cyclegan.config.files import load_config
from cyclegan.config.run_location import CONFIG, is_run
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.placement import num_parts
from cyclegan.train.training_plan import make_plan
from data_prep.store.store import Store

USEFUL_PAIRS = 8
"""Pairs of a GPU in a step of which more are hardly faster (docs/scaling.md, the roofline)."""
USABLE_SHARE = 0.8
"""Share of a GPU's memory for tensors; the rest is for what no model knows: workspaces of cuDNN,
fragmentation, CUDA's context, DALI."""
PEAK_OF_SAVED = {"fp32": 1.2, "fp16": 0.6, "bf16": 0.6, "auto": 0.6}
"""Peak of a step beyond the state, per byte that the generators' forward saves for backward in
fp32; of the rows of docs/gpu.md. `auto` is half precision on a GPU."""


def choose_batch(config: Config, store: Store, gpu_gib: float = 0.0) -> tuple[BatchConfig, str]:
    """Return the batch of a run, and a sentence on how it was chosen.

    A run that has begun keeps its batch. Without a GPU to ask, the batch remains as configured.

    Args:
        config: Configuration of the run; a name means that it may have begun.
        store: Store of the slices.
        gpu_gib: Memory of a GPU in GiB; 0: that of this machine's first GPU.
    """
    if config.run.name and is_run(config.run_folder):
        kept = load_config(config.run_folder / CONFIG).batch
        return kept, f"{describe(kept)}, as the run began"
    gpu_gib = gpu_gib or memory_gib(config)
    if not gpu_gib:
        return config.batch, (
            f"{describe(config.batch)}, as configured: there is no GPU here to ask for its memory. "
            "--gpu-gib states that of the workers' GPUs"
        )
    gpu_gib *= config.scale.gpus_per_worker
    batch = batch_for(config, store, gpu_gib)
    planned_gib = step_gib(replace(config, batch=batch), store)
    return batch, (
        f"{describe(batch)}: about {planned_gib:.1f} of a GPU's {gpu_gib:.1f} GiB for each worker, "
        "by the model of memory"
    )


def describe(batch: BatchConfig) -> str:
    """Return a batch in words, with the settings that repeat it."""
    return (
        f"{batch.global_size} pairs per step (--batch.shards {batch.shards} --batch.shard-size "
        f"{batch.shard_size})"
    )


def memory_gib(config: Config) -> float:
    """Return the memory of this machine's first GPU in GiB; 0 without one."""
    if config.scale.gpu == "no" or not torch.cuda.is_available():
        return 0.0
    memory: int = torch.cuda.get_device_properties(0).total_memory
    return memory / 2**30


def batch_for(config: Config, store: Store, gpu_gib: float) -> BatchConfig:
    """Return the batch for GPUs with so much memory, at least one pair for each.

    Shards grow; only where memory is too small for one pair of each are there fewer. With
    `accumulate` and `deterministic` a shard is what is in memory at once.
    """
    worker = Worker(world_size=config.scale.workers)  # worker 0: none has more shards
    at_once = len(config.batch.shards_of(0, worker.world_size)) // num_parts(config, worker)
    one, two = (
        make_plan(replace(config, batch=replace(config.batch, shard_size=size)), store)
        for size in (1, 2)
    )
    per_saved = PEAK_OF_SAVED[config.train.precision]
    pair_bytes = per_saved * (two.activation_bytes - one.activation_bytes) / at_once
    used_bytes = one.state_bytes + per_saved * one.activation_bytes
    more = (USABLE_SHARE * gpu_gib * 2**30 - used_bytes) // pair_bytes
    pairs = max(1, min(USEFUL_PAIRS, at_once + int(more)))
    if pairs < at_once:
        return BatchConfig(shards=pairs * worker.world_size, shard_size=1)
    return replace(config.batch, shard_size=pairs // at_once)


def step_gib(config: Config, store: Store) -> float:
    """Return the peak memory of a step of a worker on a GPU in GiB, by the model."""
    plan = make_plan(config, store)
    peak = PEAK_OF_SAVED[config.train.precision] * plan.activation_bytes
    return (plan.state_bytes + peak) / 2**30
