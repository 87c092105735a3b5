"""The training step on a GPU, ours and the usual one: time, launches, memory, data wait, and the
whole step as one CUDA graph.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.on_gpu.bench import EMA_DECAY, Bench, Figures, Stepper
from benchmarks.on_gpu.usual import UsualStep
from cluster.plan.flops import compute_cost_of
from cluster.plan.gpus import GPUS
from cyclegan.config.config import Config
from cyclegan.train.engine.compile import compiled_graphs
from cyclegan.train.engine.step import run_step, step_numbers, train_step
from cyclegan.train.monitor.timers import StepTimer
from mrct.storage.local_path import LocalPath

STREAM_STEPS = 30


def ours(bench: Bench, preset: str, compile: str, channels_last: str, pairs: int) -> Figures:
    """The step of a preset in bf16, with the stream beside it, and as a CUDA graph."""
    torch._dynamo.reset()
    compile, pairs = ("no", 1) if bench.small else (compile, pairs)
    config = bench.config(
        preset, pairs=pairs, compile=compile, precision="bf16", channels_last=channels_last
    )
    stepper = bench.stepper(config)
    figures = timed(bench, config, stepper.step, stepper.plain_step)
    if compile != "no":
        figures["graphs"] = f"{compiled_graphs()} of {stepper.engine.num_graphs[-1]}"
    figures["data_wait_percent"] = tried(partial(data_wait_percent, bench, config, stepper))
    if not bench.small:
        graph_ms = tried(partial(cuda_graph_ms, bench, stepper))
        figures["cuda_graph_ms"] = graph_ms
        if isinstance(graph_ms, float):
            figures["cuda_graph_pairs_per_s"] = 1e3 * pairs / graph_ms
    return figures


def usual(bench: Bench, preset: str, compile: str, pairs: int) -> Figures:
    """The same networks, losses and precision by the usual step, in torch's default layout."""
    torch._dynamo.reset()
    compile, pairs = ("no", 1) if bench.small else (compile, pairs)
    config = bench.config(
        preset, pairs=pairs, compile="no", precision="bf16", channels_last="no", pool_size=0
    )
    step = UsualStep(bench.stepper(config), torch.bfloat16, compiled=compile != "no").step
    return timed(bench, config, step, step)


def timed(
    bench: Bench, config: Config, first: Callable[[], object], step: Callable[[], object]
) -> Figures:
    """Of one step: milliseconds, launches, memory, and the share of the GPU's peak."""
    if not bench.small:
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    first()
    bench.sync()
    cold_s = time.monotonic() - began
    device_ms, host_ms = bench.milliseconds(step)
    seen = bench.launches(step)
    pairs, slower_ms = config.batch.global_size, max(device_ms, host_ms)
    figures: Figures = {
        "pairs": pairs,
        "pairs_per_s": 1e3 * pairs / slower_ms,
        "device_ms": device_ms,
        "host_ms": host_ms,
        "launches": seen.count,
        "cold_s": cold_s,
    }
    if not bench.small:
        figures["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    if peak := peak_tflops(bench):
        flop = pairs * compute_cost_of(config, (bench.size, bench.size)).flop_per_pair
        figures["mfu_percent"] = 100 * flop / (slower_ms / 1e3) / (peak * 1e12)
    return figures | {"slowest": seen.slowest}


def peak_tflops(bench: Bench) -> float | None:
    """Of this GPU by its data sheet; None for one that is not in `GPUS`."""
    words = bench.name.lower().replace("-", " ").split()
    return next((spec.tflops for kind, spec in GPUS.items() if kind in words), None)


def tried(measure: Callable[[], float]) -> Any:
    """A figure, or in one line why there is none: the others stay."""
    try:
        return measure()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"


def data_wait_percent(bench: Bench, config: Config, stepper: Stepper) -> float:
    """The share of the time that steps wait for the stream, from a store on this machine."""
    # Without DALI, tensorstore or Zarr everything else is measured all the same.
    from cyclegan.data.stream import open_stream
    from tests.support.stores import make_store

    timer = StepTimer(bench.device, ("data_wait", "step"))
    with tempfile.TemporaryDirectory() as temporary:
        store = make_store(
            LocalPath(temporary) / "gpu.zarr", shape=(4 if bench.small else 24, *(2 * [bench.size]))
        )
        config = replace(config, data=replace(config.data, min_body_fraction=0))
        stream = open_stream(
            store,
            config,
            "train",
            shards=range(config.batch.shards),
            start_step=0,
            device=bench.device,
            channels_last=config.train.channels_last == "yes",
            add_conditions=stepper.engine.formulas.with_conditions,
        )
        state = stepper.state
        with closing(stream):
            for number in range(2 if bench.small else STREAM_STEPS):
                if number == 1:
                    timer.take()  # the first step fills the loader
                timer.start()
                batch = next(stream)
                timer.lap("data_wait")
                state.step += state.step % 10 == 9
                train_step(state, stepper.engine, batch, stepper.weights, EMA_DECAY)
                timer.lap("step")
            taken = timer.take()
    return 100 * taken["data_wait"] / sum(taken.values())


def cuda_graph_ms(bench: Bench, stepper: Stepper) -> float:
    """The whole step as one CUDA graph: what launches cost.

    Rates and weights are frozen and there is no replay, so it serves for timing only.
    """
    state = stepper.state
    state.mri_pool.capacity = state.ct_pool.capacity = 0
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        optimizer.param_groups[0]["capturable"] = True
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            state.step = 1
            stepper.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    state.step = 1
    numbers = step_numbers(state.step, stepper.weights, EMA_DECAY, bench.device)
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run_step(state, stepper.engine, stepper.batch, numbers)
    return bench.milliseconds(graph.replay)[0]
